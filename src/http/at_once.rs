//! What is answered without waiting for anything: content that is in memory, to somebody who is known.
//!
//! While a cluster starts its nodes ask for the same few hundred manifests and configs again and again. What those
//! cost is being handed from one to the next, so they are answered where they come in. Whatever takes more than
//! looking at whether the files are still there is left to those who may wait, and so is whatever goes wrong: nothing
//! here decides more than that it is not for here.

use http::Request;

use crate::auth::Action;
use crate::http::AccessNote;
use crate::http::Answered;
use crate::http::Api;
use crate::http::PeerInfo;
use crate::http::access::Signature;
use crate::http::asked::What;
use crate::http::blobs;
use crate::http::endpoints::Verb;
use crate::http::manifests;

impl Api {
    /// Answers a request for content that is in memory, as [`Api::respond`] would; `None` says nothing about it.
    pub fn at_once<B>(&self, request: &Request<B>, peer: PeerInfo) -> Option<Answered> {
        let (access, registry) = (&self.inner.access, &self.inner.registry);
        let (uri, headers) = (request.uri(), request.headers());
        if uri.query().is_some() || !access.prefix.is_empty() {
            return None;
        }
        let verb = Verb::of(request.method());
        let part = verb.part()?;
        let asked = self.inner.memory.find(uri.path())?;
        let caller = access.known_caller(Signature { headers, uri, peer })?;
        if !caller.is_allowed(&Action::Pull(&asked.name)) {
            return None;
        }
        let response = match &asked.what {
            What::Blob(blob) => blobs::at_once(registry, headers, &asked, blob, part),
            What::Manifest(reference) => manifests::at_once(registry, headers, &asked, reference, part),
        }?;
        let user = caller.identity().shared_name();
        let note = AccessNote { operation: asked.operation(part), user, error: None };
        Some(Answered { response: self.finish(response, verb), note })
    }
}
