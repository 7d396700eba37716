//! The console and what it is made of: what the host remembers of messages, trying a handler through the admin listener,
//! and the page in a real browser.

mod bulk;
mod explorer;
mod keys;
mod operator;
mod page;
mod past;
mod roles;
mod settings;
mod versions;
