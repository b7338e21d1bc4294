//! System calls of minigun.
