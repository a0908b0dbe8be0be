//! What the process does to itself before it touches a secret.

use rustix::process::{Resource, Rlimit, setrlimit};

/// Keeps secrets out of core dumps, and other programs of the same user out of this one's memory.
/// Best effort: a system that refuses is no reason not to back up.
pub fn harden() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).ok();
    #[cfg(target_os = "linux")]
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable).ok();
}
