//! A whole node in the real world, on loopback and a temporary directory, asked over raw sockets: every API, and what it
//! does with those who do not speak the protocol.
#![cfg(not(madsim))]
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "tests: a failure is a panic; nodes run in threads of their own"
)]

mod support;

#[path = "server/admin.rs"]
mod admin;
#[path = "server/alter.rs"]
mod alter;
#[path = "server/consumer_copies.rs"]
mod consumer_copies;
#[path = "server/consumer_groups.rs"]
mod consumer_groups;
#[path = "server/consumer_members.rs"]
mod consumer_members;
#[path = "server/copies.rs"]
mod copies;
#[path = "server/data.rs"]
mod data;
#[path = "server/delete_records.rs"]
mod delete_records;
#[path = "server/group_commands.rs"]
mod group_commands;
#[path = "server/group_configs.rs"]
mod group_configs;
#[path = "server/groups.rs"]
mod groups;
#[path = "server/hooks.rs"]
mod hooks;
#[path = "server/hostile.rs"]
mod hostile;
#[path = "server/members.rs"]
mod members;
#[path = "server/members_stories.rs"]
mod members_stories;
#[path = "support/members.rs"]
mod members_support;
#[path = "server/migrations.rs"]
mod migrations;
#[path = "server/rebalances.rs"]
mod rebalances;
#[path = "server/start.rs"]
mod start;
#[allow(dead_code, reason = "its main function runs where it is a program")]
#[path = "../examples/demo.rs"]
mod demo_example;
#[allow(dead_code, reason = "its main function runs where it is a program")]
#[path = "../examples/tour.rs"]
mod tour_example;
