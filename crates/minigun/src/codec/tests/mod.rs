//! What every codec promises: it carries an item or refuses it, and survives whatever bytes it is fed.

mod carry;
mod hostile;
mod layout;
mod matrix;
mod properties;
mod shapes;
