//! The console from the outside: its files, the rights that the console's cookie gives, and walks with a real browser.

mod browser;
mod hostile;
mod incidents;
mod keyboard;
mod live;
mod session;
mod speed;
mod walk;
mod walker;
mod world;
