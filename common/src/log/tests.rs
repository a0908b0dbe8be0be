//! Tests of what entries look like, who may write them, and what they add up to.

mod bytes;
mod chain;
mod rights;
mod snapshots;
mod time;
