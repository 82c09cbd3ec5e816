//! tinysup: a container-native init and supervisor.
//!
//! The modules in the order to read them. Each may use those above it, never those below; a test keeps it so.

// Words: what everything is made of.
pub mod event;
pub mod hints;
pub mod notice;
pub mod units;
// Text: what the user wrote.
pub mod config;
// Plan: what it means.
pub mod plan;
// Seam: what the core sees of the world.
pub mod kernel;
// Linux: the files that the configuration is in.
pub mod sys {
    //! What only the operating system can do.
    pub mod files;
}
