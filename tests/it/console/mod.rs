//! The console from the outside: its files, the rights that its cookie gives, and a walk with a real browser.

mod browser;
mod session;
mod walk;
mod world;
