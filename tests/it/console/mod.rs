//! The console from the outside: its files, who may do what by its cookie, and a walk with a real browser.

mod browser;
mod session;
mod walk;
mod world;
