//! The site that a listener's connections are answered from: one for the life of the process, or one that is replaced
//! beneath them, as a server for tests does when it goes back to a snapshot.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::edge::Edge;
use super::site::Site;

/// Where a connection asks for the site at hand. A connection that waits for its next request holds no site that is
/// replaced, so that nothing of it is left in memory.
#[derive(Clone)]
pub(super) enum Sites {
    One(Arc<Site>),
    Replaced(watch::Receiver<Arc<Site>>),
}

/// The site of one request.
pub(super) enum Now<'a> {
    Same(&'a Site),
    Own(Arc<Site>),
}

impl Deref for Now<'_> {
    type Target = Site;

    fn deref(&self) -> &Site {
        match self {
            Now::Same(site) => site,
            Now::Own(site) => site,
        }
    }
}

impl Sites {
    /// The site that answers now.
    pub fn now(&self) -> Now<'_> {
        match self {
            Sites::One(site) => Now::Same(site),
            Sites::Replaced(sites) => Now::Own(Arc::clone(&sites.borrow())),
        }
    }
}

/// Puts another edge behind a listener, under the connections that it has.
pub struct Replacer(watch::Sender<Arc<Site>>);

impl Replacer {
    /// Begins with an edge; a listener that takes the sites answers from what is put there later.
    pub(super) fn new(site: Site) -> (Replacer, Sites) {
        let (sender, sites) = watch::channel(Arc::new(site));
        (Replacer(sender), Sites::Replaced(sites))
    }

    /// Requests that come from now on are answered by this edge; those that are on their way end with the one before,
    /// whose streams end.
    pub fn replace(&self, edge: Arc<Edge>) {
        let next = self.0.borrow().with(edge);
        let before = self.0.send_replace(Arc::new(next));
        before.edge.serving.streams.close();
    }
}
