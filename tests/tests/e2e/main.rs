//! The two programs together, as a user runs them. One file a theme.

mod accounts;
mod blind_server;
mod cli;
mod compact;
mod crash_client;
mod crash_server;
mod daemon;
mod deleting;
mod deletion;
mod enrol;
mod fidelity;
mod http;
mod increments;
mod kit;
mod large;
mod moving;
mod readme;
mod restore;
mod retention;
mod round_trip;
mod scrub;
mod secrecy;
mod sets;
mod tidy;
mod trouble;
mod write_only;
