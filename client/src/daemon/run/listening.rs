//! Where the daemon is asked, also after somebody has removed that.

use std::path::Path;
use std::sync::Arc;

use super::{Daemon, Ears, Message};
use crate::daemon::control::Server;
use crate::daemon::job::Trouble;
use crate::daemon::live::Live;

/// Listens anew where somebody has removed the socket: who cleans up a runtime folder does.
pub(super) fn again(
    daemon: &mut Daemon,
    (lost, socket): (Option<Server>, &Path),
    ears: &Ears,
) -> Option<Server> {
    let is_news = lost.is_some();
    // It takes away what has its name.
    drop(lost);
    match listen(socket, &daemon.live, ears) {
        Ok(server) => {
            daemon.around.log("the control socket was gone, and is there again");
            Some(server)
        }
        Err(trouble) => {
            if is_news {
                daemon.around.log(&format!("the control socket is gone; {}", trouble.message));
            }
            None
        }
    }
}

pub(super) fn listen(socket: &Path, live: &Arc<Live>, ears: &Ears) -> Result<Server, Trouble> {
    let mouth = ears.mouth();
    // There are no more requests on their way than there are clients.
    let post = move |ask| mouth.send(Message::Ask(ask)).is_ok();
    Server::start(socket, Arc::clone(live), post).map_err(|error| {
        let text = format!("cannot listen at {}: {error}", socket.display());
        Trouble::new(Trouble::FAILED, text)
    })
}
