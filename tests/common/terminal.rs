//! A program at a terminal, and the person at it.

#![allow(dead_code, reason = "each suite that shares this needs a part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::time::Instant;

use crate::container::{Container, DEADLINE, Out, Setup};
use crate::launch;

/// A container at a terminal that is its own, and the side of the person.
pub struct Terminal {
    pub container: Container,
    pub master: File,
    /// Everything it showed so far.
    pub text: String,
}

impl Terminal {
    pub fn new(setup: Setup) -> Self {
        let (master, slave) = launch::terminal().expect("a terminal");
        let copy = || slave.try_clone().expect("a copy");
        let container = setup
            .stdin(Some(copy()))
            .stdout(Out::To(copy()))
            .stderr(Out::To(copy()))
            .env("TERM", "dumb")
            .env("PS1", "$ ")
            .before(launch::take_terminal)
            .start();
        Self { container, master: master.into(), text: String::new() }
    }

    pub fn type_in(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("the terminal is there");
    }

    pub fn resize(&self) {
        launch::resize(&self.master).expect("the terminal is there");
    }

    pub fn read_until(&mut self, wanted: &str) {
        self.read_until_any(&[wanted]);
    }

    pub fn read_until_any(&mut self, wanted: &[&str]) {
        let start = Instant::now();
        while !wanted.iter().any(|wanted| self.text.contains(wanted)) {
            let left = DEADLINE.saturating_sub(start.elapsed());
            assert!(launch::readable(&self.master, left), "waited for {wanted:?} in {:?}", self.text);
            let mut bytes = [0; 4096];
            let count = self.master.read(&mut bytes).expect("the terminal is there");
            self.text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    }
}
