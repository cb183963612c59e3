//! The thread of the session with the PostgreSQL server, with its own runtime. The session still answers the server
//! while ingest and the writer stand still for minutes.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::source::Progress;

use super::PostgresSource;
use super::follower::{FollowSettings, Follower};
use super::link::Link;
use super::net::{ConnectSettings, NetServer};
use super::status::PostgresStatus;

/// How long the end of the process waits until the last feedback is sent.
const END_MAX: Duration = Duration::from_secs(10);

/// The slot to follow, and the address of its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresSettings {
    pub connect: ConnectSettings,
    pub follow: FollowSettings,
}

/// A running session with a PostgreSQL server.
pub struct Session {
    link: Arc<Link>,
    pub status: Arc<PostgresStatus>,
    thread: JoinHandle<()>,
}

impl Session {
    /// Starts the session's thread, and returns the source that ingest polls.
    pub fn start(
        settings: PostgresSettings,
        progress: Arc<dyn Progress>,
    ) -> std::io::Result<(Session, PostgresSource)> {
        let (link, status) = (Arc::<Link>::default(), Arc::new(PostgresStatus::new(&settings.follow.slot)));
        let source = PostgresSource::new(Arc::clone(&link), &settings.follow.slot);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (shared, seen) = (Arc::clone(&link), Arc::clone(&status));
        let thread = std::thread::Builder::new().name("postgres".to_owned()).spawn(move || {
            let closing = Closing(Arc::clone(&shared));
            let follower = Follower::new(NetServer::new(settings.connect), shared, progress, settings.follow, seen);
            runtime.block_on(follower.run());
            drop(closing);
        })?;
        Ok((Session { link, status, thread }, source))
    }

    /// Reports the last commit to the server, and closes the connection.
    pub fn end(self) {
        if self.link.end(END_MAX) {
            // If the thread panicked, the panic hook has already reported the panic.
            let _ = self.thread.join();
        } else {
            tracing::warn!(
                "postgres: the session does not end; the server sends some changes again after the next start"
            );
        }
    }
}

/// Closes the link when the thread ends, also after a panic, so that ingest notices the end.
struct Closing(Arc<Link>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}
