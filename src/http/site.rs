//! An edge together with the routes of a listener.

use std::sync::Arc;

use super::console::files::Files;
use super::documents::Documents;
use super::edge::Edge;
use super::encoding::Compressed;
use super::openapi;
use super::route::Routes;

/// An edge together with the routes of a listener.
pub(super) struct Site {
    pub edge: Arc<Edge>,
    pub routes: Arc<Routes>,
    pub documents: Documents,
    pub compressed: Compressed,
    /// The files of the console, if this listener has the console.
    pub console: Option<Arc<Files>>,
}

impl Site {
    pub fn new(edge: Arc<Edge>, routes: Routes, console: Option<Arc<Files>>) -> Site {
        let documents = Documents::new(openapi::document(&routes).to_string());
        Site { edge, routes: Arc::new(routes), documents, compressed: Compressed::default(), console }
    }

    /// Makes a site with the routes of this site and the given edge.
    pub fn with(&self, edge: Arc<Edge>) -> Site {
        Site {
            edge,
            routes: Arc::clone(&self.routes),
            documents: self.documents.anew(),
            compressed: Compressed::default(),
            console: self.console.clone(),
        }
    }
}
