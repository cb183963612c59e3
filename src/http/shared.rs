//! Bodies of answers that many clients request. nova makes a shared body once, compresses it at most once, and keeps
//! it as long as it is valid.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use parking_lot::Mutex;
use xxhash_rust::xxh3::xxh3_64;

use super::answers;
use super::encoding::Gzipped;

/// The time for which a cache may use `/openapi.json` and the key set without asking nova.
const SHORT: &str = "public, max-age=60";

/// The body of an answer, together with its compressed form.
#[derive(Clone)]
pub(super) struct Shared {
    kind: &'static str,
    plain: Bytes,
    gzip: Gzipped,
}

impl Shared {
    pub fn new(kind: &'static str, text: String) -> Shared {
        Shared { kind, plain: Bytes::from(text), gzip: Gzipped::default() }
    }

    /// The answer with the body, which nova compresses once for all clients that accept gzip.
    pub fn response(&self) -> Response<Full<Bytes>> {
        let mut response = answers::bytes(StatusCode::OK, self.kind, self.plain.clone());
        response.extensions_mut().insert(self.gzip.clone());
        response
    }

    /// The ETag of the body, which identifies the body's bytes.
    fn etag(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&format!("\"{:016x}\"", xxh3_64(&self.plain))).ok()
    }

    /// The answer with an ETag for caches. `control` is the value of `Cache-Control`, which says how long a cache may
    /// keep the answer.
    pub fn kept(&self, control: &'static str) -> Response<Full<Bytes>> {
        let mut response = self.response();
        if let Some(etag) = self.etag() {
            response.headers_mut().insert(ETAG, etag);
        }
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static(control));
        response
    }

    /// The answer with an ETag for caches. A cache may use the answer for a minute, and must ask after that whether the
    /// answer is still valid.
    pub fn cacheable(&self) -> Response<Full<Bytes>> {
        self.kept(SHORT)
    }
}

/// The last body of an answer, with a mark that identifies the data from which nova made the body. nova uses the body
/// again as long as the requested mark is the same. A mark is for example the time in whole seconds, or the text of the
/// body.
pub(super) struct Kept<M>(Mutex<Option<(M, Shared)>>);

impl<M> Default for Kept<M> {
    fn default() -> Kept<M> {
        Kept(Mutex::new(None))
    }
}

impl<M: PartialEq> Kept<M> {
    /// Returns the kept body if its mark is equal to `mark`, otherwise the body that `make` makes. Callers wait while
    /// `make` runs, so that nova makes the body only once.
    pub fn get<E>(&self, mark: M, make: impl FnOnce(&M) -> Result<Shared, E>) -> Result<Shared, E> {
        let mut kept = self.0.lock();
        if let Some((_, shared)) = kept.as_ref().filter(|(known, _)| *known == mark) {
            return Ok(shared.clone());
        }
        let shared = make(&mark)?;
        *kept = Some((mark, shared.clone()));
        Ok(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_made_once_for_each_mark() {
        let (kept, mut made) = (Kept::default(), 0);
        for mark in [1, 1, 2, 2, 2, 1] {
            let mut make = |mark: &i32| {
                made += 1;
                Ok::<_, ()>(Shared::new("text/plain", format!("body of {mark}")))
            };
            let body = kept.get(mark, &mut make).unwrap().plain;
            assert_eq!(body, format!("body of {mark}"));
        }
        assert_eq!(made, 3);
        let kept = Kept::default();
        assert!(kept.get(1, |_| Err("not now")).is_err());
        assert!(kept.get(1, |_| Ok::<_, ()>(Shared::new("text/plain", String::new()))).is_ok());
    }
}
