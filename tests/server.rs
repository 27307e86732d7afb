//! A whole node in the real world, on loopback and a temporary directory, asked over raw sockets: every API, and what it
//! does with those who do not speak the protocol.
#![cfg(not(madsim))]

mod support;

#[path = "server/admin.rs"]
mod admin;
#[path = "server/hostile.rs"]
mod hostile;
#[path = "server/start.rs"]
mod start;
