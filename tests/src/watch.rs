//! Bad moments: ends a process when so many things happened to files.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};

use rustix::fs::inotify;
use rustix::process::{Pid, Signal};

/// Watches folders: files that are made, renamed, removed or closed after writing.
#[derive(Debug)]
pub struct Watch {
    events: OwnedFd,
    /// Closed when the process that is waited for ends.
    process: OwnedFd,
    pid: Pid,
}

impl Watch {
    /// Watches every folder beneath these, for as long as the process lives.
    pub fn new(folders: &[PathBuf], pid: Pid) -> Self {
        let events = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK);
        let events = events.unwrap();
        let flags = inotify::WatchFlags::CREATE
            | inotify::WatchFlags::MOVED_TO
            | inotify::WatchFlags::DELETE
            | inotify::WatchFlags::MODIFY
            | inotify::WatchFlags::CLOSE_WRITE;
        for folder in folders {
            for folder in folders_beneath(folder) {
                inotify::add_watch(&events, &folder, flags).unwrap();
            }
        }
        let process = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
        Self { events, process: process.unwrap(), pid }
    }

    /// Sends this signal when `count` events happened. False if the process ended before.
    pub fn signal_after(self, count: usize, signal: Signal) -> bool {
        let mut seen = 0;
        let mut buffer = [MaybeUninit::<u8>::uninit(); 4096];
        while seen < count {
            if self.process_ended_first() {
                return false;
            }
            let mut reader = inotify::Reader::new(&self.events, &mut buffer);
            // Fails when there are no more events for now.
            while seen < count && reader.next().is_ok() {
                seen += 1;
            }
        }
        rustix::process::kill_process(self.pid, signal).is_ok()
    }

    /// Waits for an event or the end of the process.
    fn process_ended_first(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, poll};
        let mut fds =
            [PollFd::new(&self.events, PollFlags::IN), PollFd::new(&self.process, PollFlags::IN)];
        poll(&mut fds, None).unwrap();
        fds[0].revents().is_empty()
    }
}

/// Kills a child after so many events in these folders. `None` if it ended by itself before.
pub fn kill_after(child: &mut Child, folders: &[PathBuf], count: usize) -> Option<ExitStatus> {
    let watch = Watch::new(folders, Pid::from_child(child));
    let killed = watch.signal_after(count, Signal::KILL);
    let status = child.wait().unwrap();
    (killed && status.code().is_none()).then_some(status)
}

/// A folder and all folders beneath it.
fn folders_beneath(folder: &Path) -> Vec<PathBuf> {
    let mut found = vec![folder.to_path_buf()];
    let mut next = 0;
    while let Some(folder) = found.get(next).cloned() {
        next += 1;
        let Ok(entries) = std::fs::read_dir(folder) else {
            continue;
        };
        let folders = entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir()));
        found.extend(folders.map(|entry| entry.path()));
    }
    found
}
