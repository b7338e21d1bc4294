//! Pages that explain a whole matter. Their programs are compiled and run with the tests.

#[doc = include_str!("failure.md")]
pub mod failure {}

#[doc = include_str!("routing.md")]
pub mod routing {}
#[doc = include_str!("ruby.md")]
pub mod ruby {}
