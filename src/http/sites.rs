//! The site from which nova answers the connections of a listener. In a normal node, the site stays the same for the
//! life of the process. In a server for tests, a replacer can exchange the site while connections stay open, for
//! example to restore a snapshot.

use std::ops::Deref;
use std::sync::Arc;

use tokio::sync::watch;

use super::edge::Edge;
use super::site::Site;

/// The source of the current site for connections. A connection that waits for its next request keeps no reference to a
/// site that may be replaced, so the memory of a replaced site becomes free.
#[derive(Clone)]
pub(super) enum Sites {
    One(Arc<Site>),
    Replaced(watch::Receiver<Arc<Site>>),
}

/// The site that answers one request.
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
    /// The current site.
    pub fn now(&self) -> Now<'_> {
        match self {
            Sites::One(site) => Now::Same(site),
            Sites::Replaced(sites) => Now::Own(Arc::clone(&sites.borrow())),
        }
    }
}

/// Replaces the edge of a listener without closing the listener's connections.
pub struct Replacer(watch::Sender<Arc<Site>>);

impl Replacer {
    /// Makes a replacer and the [`Sites`] of a listener. The listener first answers from `site`, and later from the
    /// newest edge of the replacer.
    pub(super) fn new(site: Site) -> (Replacer, Sites) {
        let (sender, sites) = watch::channel(Arc::new(site));
        (Replacer(sender), Sites::Replaced(sites))
    }

    /// Lets `edge` answer new requests. Running requests end with the previous edge, and the streams of the previous
    /// edge end.
    pub fn replace(&self, edge: Arc<Edge>) {
        let next = self.0.borrow().with(edge);
        let before = self.0.send_replace(Arc::new(next));
        before.edge.serving.streams.close();
    }
}
