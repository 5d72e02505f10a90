//! Stages the configured plugins anew: at SIGHUP, and when the configuration or a component's file
//! changes. What can't be staged changes nothing.

use std::path::PathBuf;
use std::sync::Arc;

use master::Master;
use rollout::{Origin, Source};
use tokio::signal::unix::Signal;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::arguments::Common;
use crate::config::Config;
use crate::setup;
use crate::watch::{EVERY, Looks, Step, Watch, look};

/// What reading the configuration anew takes.
pub struct Reload {
    /// Where the configuration is.
    pub common: Common,
    /// Puts sets in force.
    pub master: Arc<Master>,
    /// Whether files are watched.
    pub watch: bool,
    /// On a catalog master, whether the CA says which plugins decide.
    pub led: watch::Receiver<bool>,
}

/// The files that a configuration is read from: its own, its components, and their signatures.
pub fn files(common: &Common, config: Option<&Config>) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = setup::config_file(common).into_iter().collect();
    let plugins = config.map_or(&[][..], |config| &config.plugins.plugins);
    for plugin in plugins {
        if let Source::File(path) = &plugin.source {
            let mut signature = path.clone().into_os_string();
            signature.push(".sig");
            files.extend([path.clone(), signature.into()]);
        }
    }
    files
}

impl Reload {
    /// Waits for signals and changes for as long as it is polled.
    pub async fn run(self, mut watch: Watch, mut hangup: Signal) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let by = tokio::select! {
                Some(()) = hangup.recv() => "SIGHUP",
                _ = ticks.tick(), if self.watch && !*self.led.borrow() => "file watch",
            };
            let Some(now) = looks(watch.files()).await else { continue };
            match by {
                "SIGHUP" => watch.acted(now),
                _ => match watch.step(now) {
                    Step::Rest => continue,
                    Step::Wait => {
                        tracing::debug!("a file of the plugins changes");
                        continue;
                    }
                    Step::Act(changed) => {
                        let changed: Vec<_> = changed.iter().map(|path| path.display().to_string()).collect();
                        tracing::info!(files = changed.join(", "), "files of the plugins have changed");
                    }
                },
            }
            if let Err(problem) = self.reload(by, &mut watch).await {
                // One event, one line.
                let problem = problem.replace("\n  ", " ");
                tracing::error!(by, "the plugins stay as they are: {problem}");
            }
        }
    }

    async fn reload(&self, by: &'static str, watch: &mut Watch) -> Result<(), String> {
        if *self.led.borrow() {
            return Err("rollout.follow is set, and the CA says which plugins decide here".to_owned());
        }
        let common = self.common.clone();
        let read = spawn_blocking(move || setup::read_config(&common)).await.map_err(|e| e.to_string())?;
        let config = read.map_err(|failure| failure.message)?;
        // Looked at before they are read: what changes meanwhile is seen the next time.
        let files = files(&self.common, Some(&config));
        if let Some(files) = looks(files).await {
            watch.follow(files);
        }
        let origin = Origin::new(by, setup::config_place(&self.common));
        let staged = self.master.stage_plugins(config.plugins, origin.clone()).await;
        let (from, to) = (self.master.plugins().id().to_owned(), staged.map_err(|e| e.to_string())?.set.id);
        if from == to {
            tracing::info!(by, set = to, "the plugins were read anew, and are the same");
            return Ok(());
        }
        self.master.swap_plugins(&to, false, origin).await.map_err(|failed| failed.message)?;
        tracing::info!(by, from, to, "the plugins were reloaded");
        Ok(())
    }
}

/// Looks at files off the threads that serve agents: a network's file system may take its time.
async fn looks(files: Vec<PathBuf>) -> Option<Looks> {
    spawn_blocking(move || look(files)).await.ok()
}
