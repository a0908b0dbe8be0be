//! Ctrl-C: the first asks for an orderly end, the second ends at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

use super::exit::Exit;

/// Raised when somebody wants the program to stop. Engines look at it between files and packs.
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens to SIGINT, SIGTERM and SIGHUP from now on. Call this when prompts are over: at a
    /// prompt, the first Ctrl-C should end the program.
    pub fn install() -> io::Result<Self> {
        Self::listen(&[SIGINT, SIGTERM, SIGHUP])
    }

    fn listen(signals: &[i32]) -> io::Result<Self> {
        let made = Self::default();
        for &signal in signals {
            // In this order: the first signal finds the flag down, raises it, and so arms the exit.
            let code = i32::from(Exit::Interrupted.code());
            flag::register_conditional_shutdown(signal, code, made.flag())?;
            flag::register(signal, made.flag())?;
        }
        Ok(made)
    }

    /// Whether to stop.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Asks to stop, as Ctrl-C does.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// The flag itself, for engines.
    pub fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_raises_the_flag() {
        let interrupt = Interrupt::listen(&[signal_hook::consts::SIGUSR1]).unwrap();
        let copy = interrupt.clone();
        assert!(!copy.is_raised());
        signal_hook::low_level::raise(signal_hook::consts::SIGUSR1).unwrap();
        assert!(copy.is_raised() && interrupt.flag().load(Ordering::Relaxed));
    }
}
