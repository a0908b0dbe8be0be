//! How the user is told of trouble: on the desktop, by a command, by a message to an address.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::runtime::Handle;

use super::super::output::Ui;
use crate::daemon::alerts::Alert;
use crate::daemon::config::AlertConfig;
use crate::sets::command::for_others;

/// How long an address may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Tells the user in every way that is configured. Nothing is waited for.
pub(super) fn tell(ui: &Arc<Ui>, runtime: &Handle, config: &AlertConfig, alert: &Alert) {
    if config.desktop {
        // Many machines have no desktop.
        start(desktop(alert));
    }
    if let Some(line) = &config.command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]).env("UNSEEN_ALERT", &alert.text);
        command.env("UNSEEN_ALERT_HINT", &alert.hint).env("UNSEEN_ALERT_KEY", &alert.key);
        if !start(command) {
            ui.warn("the command of [daemon.alerts] cannot be run");
        }
    }
    if let Some(address) = config.webhook.clone() {
        let (ui, alert) = (Arc::clone(ui), alert.clone());
        runtime.spawn(async move {
            if let Err(error) = post(&address, &alert).await {
                // The address may hold a secret: it is not shown.
                let error = crate::progress::in_words(&error.without_url());
                ui.warn(&format!("the webhook of [daemon.alerts] was not reached: {error}"));
            }
        });
    }
}

async fn post(address: &str, alert: &Alert) -> Result<(), reqwest::Error> {
    let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
    let body = json!({"key": alert.key, "text": alert.text, "hint": alert.hint});
    client.post(address).json(&body).send().await?.error_for_status()?;
    Ok(())
}

#[cfg(target_os = "macos")]
fn desktop(alert: &Alert) -> Command {
    let mut command = Command::new("osascript");
    let script =
        "on run argv\ndisplay notification (item 1 of argv) with title \"Backup\"\nend run";
    command.args(["-e", script, &alert.text]);
    command
}

#[cfg(not(target_os = "macos"))]
fn desktop(alert: &Alert) -> Command {
    let mut command = Command::new("notify-send");
    let text = format!("{} {}", alert.text, alert.hint);
    command.args(["--app-name=Unseen", "--urgency=critical", "--", "Backup", &text]);
    command
}

/// Starts a command that is waited for on a thread of its own. False if it cannot be started.
fn start(mut command: Command) -> bool {
    for_others(&mut command).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else {
        return false;
    };
    let thread = std::thread::Builder::new().name("alert".to_owned());
    thread.spawn(move || child.wait()).is_ok()
}
