//! tinysup: a container-native init and supervisor.
//!
//! The modules in the order to read them. Each may use those above it, never those below; a test keeps it so.

#![cfg_attr(small, feature(optimize_attribute))]

// Words: what everything is made of.
// The first is pure, and lies where only sys may do what it does.
#[path = "sys/newlines.rs"]
mod newlines;
mod search;
pub mod gather;
pub mod sorted;
pub mod event;
pub mod control;
pub mod notify;
pub mod probe;
pub mod hints;
pub mod suggest;
pub mod texts;
pub mod notice;
pub mod voice;
pub mod line;
pub mod units;
// Text: what the user wrote.
pub mod cli;
pub mod config;
pub mod view;
// Plan: what it means.
pub mod plan;
// Machines: one concern each; siblings do not know each other.
pub mod services;
pub mod reaper;
pub mod signals;
pub mod shutdown;
pub mod memory;
pub mod logs;
pub mod journal;
pub mod requests;
// Core: the machines together.
pub mod obituary;
pub mod supervisor;
// Seam: what the core sees of the world, and the loop between the two.
pub mod kernel;
pub mod runtime;
// World: the seam on Linux.
pub mod sys;
// Shell: what each command does.
pub mod client;
pub mod commands;

// What the unit tests share with the others.
#[cfg(test)]
#[path = "../tests/common/numbers.rs"]
mod numbers;
