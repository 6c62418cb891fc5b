//! The endpoint table: what is asked of what, which right it needs, and who
//! answers.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use http::Method;
use http::Response;

use crate::auth::Action;
use crate::http::Body;
use crate::http::access::Caller;
use crate::http::asked::Asked;
use crate::http::asked::Memory;
use crate::http::asked::What;
use crate::http::base;
use crate::http::blobs;
use crate::http::blobs::Part;
use crate::http::error::Error;
use crate::http::health;
use crate::http::health::Observed;
use crate::http::listings;
use crate::http::maintenance;
use crate::http::manifests;
use crate::http::query::Query;
use crate::http::receive::Incoming;
use crate::http::releases;
use crate::http::roots;
use crate::http::route::Route;
use crate::http::sync;
use crate::http::token;
use crate::http::uploads;
use crate::maintenance::Attachments;
use crate::peer::Jobs;
use crate::peer::Releases;
use crate::registry::Registry;

/// What is asked of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    /// `GET` whose body is not sent.
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    /// One that no route has.
    Other,
}

impl Verb {
    pub(super) fn of(method: &Method) -> Self {
        match *method {
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            Method::PATCH => Self::Patch,
            Method::DELETE => Self::Delete,
            Method::OPTIONS => Self::Options,
            _ => Self::Other,
        }
    }

    /// How much of something's content it asks for, if any.
    pub(super) fn part(self) -> Option<Part> {
        match self {
            Self::Get => Some(Part::AsAsked),
            Self::Head => Some(Part::Head),
            _ => None,
        }
    }
}

/// What is asked for.
#[derive(Debug)]
pub(super) enum Target<'a> {
    /// Content that was asked for of late, and is again: so much of it.
    Asked(Arc<Asked>, Part),
    /// What a path names.
    Route(Route<'a>),
}

/// A request, as far as handlers look at it.
pub(super) struct Call<'a, B> {
    pub(super) registry: &'a Registry,
    pub(super) jobs: Option<&'a Jobs>,
    pub(super) attachments: &'a Attachments,
    pub(super) releases: &'a Releases,
    pub(super) observed: &'a Observed,
    pub(super) catalog_limit: usize,
    pub(super) headers: &'a HeaderMap,
    pub(super) path: &'a str,
    pub(super) memory: &'a Memory,
    pub(super) query: Query<'a>,
    pub(super) caller: Caller<'a>,
    pub(super) body: Incoming<'a, B>,
}

/// Answers what is nobody's secret, without a look at who asks.
pub(super) async fn answer_anybody(
    verb: Verb,
    target: &Target<'_>,
    registry: &Registry,
    query: Query<'_>,
) -> Option<Response<Body>> {
    let Target::Route(route) = target else { return None };
    match (verb, route) {
        (Verb::Options, _) => Some(base::options(methods(route))),
        (Verb::Get | Verb::Head, Route::Root) => Some(base::alive()),
        (Verb::Get | Verb::Head, Route::Alive) => Some(health::alive()),
        (Verb::Get | Verb::Head, Route::Ready) => Some(health::ready(registry, query).await),
        _ => None,
    }
}

/// Answers a request.
pub(super) async fn answer<B>(
    verb: Verb,
    target: &Target<'_>,
    call: Call<'_, B>,
) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    let (asked, part) = match (target, verb.part()) {
        (Target::Asked(asked, part), _) => {
            call.caller.may(&Action::Pull(&asked.name))?;
            (Arc::clone(asked), *part)
        }
        (Target::Route(Route::Blob(name, digest)), Some(part)) => {
            (Arc::new(Asked::blob(call.caller.reads(name)?, digest)?), part)
        }
        (Target::Route(Route::Manifest(name, reference)), Some(part)) => {
            (Arc::new(Asked::manifest(call.caller.reads(name)?, reference)?), part)
        }
        // On the heap, so that what is asked for most does not pay for the size of all the others.
        (Target::Route(route), _) => return Box::pin(answer_other(verb, route, call)).await,
    };
    let answered = match &asked.what {
        What::Blob(blob) => blobs::get(call.registry, call.headers, &asked, blob.digest(), part).await?,
        What::Manifest(reference) => {
            manifests::get(call.registry, call.headers, &asked, reference.reference(), part).await?
        }
    };
    if matches!(target, Target::Route(_)) {
        call.memory.keep(call.path, asked);
    }
    Ok(answered)
}

/// Answers what is not the content of a blob or a manifest.
#[expect(clippy::too_many_lines, reason = "the table of endpoints, whole in one place")]
async fn answer_other<B>(verb: Verb, route: &Route<'_>, call: Call<'_, B>) -> Result<Response<Body>, Error>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: std::error::Error,
{
    use Route as R;
    use Verb as V;
    let Call {
        registry,
        jobs,
        attachments,
        releases,
        observed,
        catalog_limit,
        headers,
        query,
        caller,
        body,
        ..
    } = call;
    match (verb, route) {
        (V::Get | V::Head, R::Base) => caller.may(&Action::Probe).map(|()| base::version()),
        (V::Get | V::Head, R::Discover(_)) => caller.may(&Action::Probe).map(|()| base::discover()),
        (V::Get | V::Head, R::Catalog) => {
            caller.may(&Action::Catalog)?;
            listings::catalog(registry, query, catalog_limit).await
        }
        (V::Get | V::Head, R::Token) => token::get(&caller, query),
        (V::Post, R::Token) => token::post(caller, body).await,
        (V::Get | V::Head, R::Status) => {
            caller.may(&Action::Administer)?;
            Ok(health::status(registry, attachments, observed).await)
        }
        (V::Get | V::Head, R::Roots) => {
            caller.may(&Action::Administer)?;
            Ok(roots::list(attachments).await)
        }
        (V::Post, R::Roots) => {
            caller.may(&Action::Administer)?;
            roots::attach(attachments, releases, body).await
        }
        (V::Delete, R::Roots) => {
            caller.may(&Action::Administer).and_then(|()| roots::detach(attachments, query))
        }
        (V::Post, R::Gc) => {
            caller.may(&Action::Administer)?;
            maintenance::gc(registry, body).await
        }
        (V::Post, R::Verify) => {
            caller.may(&Action::Administer)?;
            maintenance::verify(registry, jobs, body).await
        }
        (V::Get | V::Head, R::Releases) => {
            caller.may(&Action::Inspect)?;
            releases::list(releases, query).await
        }
        (V::Post, R::Releases) => {
            caller.may(&Action::Administer)?;
            releases::add(releases, body).await
        }
        (V::Get | V::Head, R::Release(name)) => {
            caller.may(&Action::Inspect)?;
            releases::get(releases, name).await
        }
        (V::Delete, R::Release(name)) => {
            caller.may(&Action::Administer)?;
            releases::remove(releases, query, name).await
        }
        (V::Get | V::Head, R::Inventory) => {
            caller.may(&Action::Inspect)?;
            sync::inventory(registry, headers, query).await
        }
        (V::Post, R::Have) => {
            caller.may(&Action::Inspect)?;
            sync::have(registry, jobs, body).await
        }
        (V::Get | V::Head, R::Jobs) => caller.may(&Action::Inspect).and_then(|()| sync::list(jobs)),
        (V::Post, R::Jobs) => {
            caller.may(&Action::Administer)?;
            sync::submit(jobs, body).await
        }
        (V::Get | V::Head, R::Job(id)) => {
            caller.may(&Action::Inspect).and_then(|()| sync::status(jobs, headers, id))
        }
        (V::Delete, R::Job(id)) => caller.may(&Action::Administer).and_then(|()| sync::cancel(jobs, id)),
        (V::Get | V::Head, R::Tags(name)) => listings::tags(registry, query, &caller.reads(name)?).await,
        (V::Get | V::Head, R::Referrers(name, subject)) => {
            listings::referrers(registry, query, &caller.reads(name)?, subject).await
        }
        (V::Delete, R::Blob(name, digest)) => blobs::delete(registry, &caller.deletes(name)?, digest).await,
        (V::Put, R::Manifest(name, reference)) => {
            manifests::put(registry, headers, query, &caller.writes(name)?, reference, body).await
        }
        (V::Delete, R::Manifest(name, reference)) => {
            manifests::delete(registry, &caller.deletes(name)?, reference).await
        }
        (V::Post, R::Uploads(name)) => {
            let name = caller.writes(name)?;
            uploads::start(registry, &caller, query, &name, body).await
        }
        (V::Get | V::Head, R::Upload(name, id)) => uploads::status(registry, &caller.writes(name)?, id).await,
        (V::Patch, R::Upload(name, id)) => {
            uploads::patch(registry, headers, &caller.writes(name)?, id, body).await
        }
        (V::Put, R::Upload(name, id)) => {
            uploads::put(registry, headers, query, &caller.writes(name)?, id, body).await
        }
        (V::Delete, R::Upload(name, id)) => uploads::cancel(registry, &caller.writes(name)?, id).await,
        _ => Err(Error::Method { allow: methods(route) }),
    }
}

/// What may be asked of a route.
fn methods(route: &Route<'_>) -> &'static str {
    match route {
        Route::Root
        | Route::Alive
        | Route::Ready
        | Route::Status
        | Route::Base
        | Route::Catalog
        | Route::Discover(_)
        | Route::Inventory
        | Route::Tags(_)
        | Route::Referrers(..) => "GET, HEAD",
        Route::Token | Route::Jobs | Route::Releases => "GET, HEAD, POST",
        Route::Have | Route::Gc | Route::Verify => "POST",
        Route::Job(_) | Route::Release(_) => "GET, HEAD, DELETE",
        Route::Roots => "GET, HEAD, POST, DELETE",
        Route::Blob(..) => "GET, HEAD, DELETE",
        Route::Manifest(..) => "GET, HEAD, PUT, DELETE",
        Route::Uploads(_) => "POST",
        Route::Upload(..) => "GET, HEAD, PATCH, PUT, DELETE",
    }
}

/// The name of an endpoint, for logs and metrics.
pub(super) fn operation(verb: Verb, target: Option<&Target<'_>>) -> &'static str {
    use Verb as V;
    let route = match target {
        Some(Target::Route(route)) => route,
        Some(Target::Asked(asked, part)) => return asked.operation(*part),
        None => return "Unknown",
    };
    match (verb, route) {
        (V::Options, _) => "Options",
        (_, Route::Root | Route::Alive) => "Alive",
        (_, Route::Ready) => "Ready",
        (_, Route::Status) => "Status",
        (_, Route::Base) => "Base",
        (_, Route::Catalog) => "ListRepositories",
        (_, Route::Discover(_)) => "Discover",
        (_, Route::Token) => "IssueToken",
        (_, Route::Gc) => "CollectGarbage",
        (_, Route::Verify) => "Verify",
        (V::Post, Route::Roots) => "AttachRoot",
        (V::Delete, Route::Roots) => "DetachRoot",
        (_, Route::Roots) => "ListRoots",
        (V::Post, Route::Releases) => "AddRelease",
        (_, Route::Releases) => "ListReleases",
        (V::Delete, Route::Release(_)) => "RemoveRelease",
        (_, Route::Release(_)) => "GetRelease",
        (_, Route::Inventory) => "GetInventory",
        (_, Route::Have) => "AskForBlobs",
        (V::Post, Route::Jobs) => "StartJob",
        (_, Route::Jobs) => "ListJobs",
        (V::Delete, Route::Job(_)) => "CancelJob",
        (_, Route::Job(_)) => "GetJob",
        (_, Route::Tags(_)) => "ListTags",
        (_, Route::Referrers(..)) => "ListReferrers",
        (V::Head, Route::Blob(..)) => "HeadBlob",
        (V::Delete, Route::Blob(..)) => "DeleteBlob",
        (_, Route::Blob(..)) => "GetBlob",
        (V::Head, Route::Manifest(..)) => "HeadManifest",
        (V::Put, Route::Manifest(..)) => "PutManifest",
        (V::Delete, Route::Manifest(..)) => "DeleteManifest",
        (_, Route::Manifest(..)) => "GetManifest",
        (_, Route::Uploads(_)) => "StartUpload",
        (V::Patch, Route::Upload(..)) => "AppendToUpload",
        (V::Put, Route::Upload(..)) => "FinishUpload",
        (V::Delete, Route::Upload(..)) => "CancelUpload",
        (_, Route::Upload(..)) => "GetUpload",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn operations_are_told_apart() {
        for (method, path, expected) in [
            (Method::GET, "/v2/", "Base"),
            (Method::HEAD, "/v2/a/blobs/x", "HeadBlob"),
            (Method::GET, "/v2/a/manifests/x", "GetManifest"),
            (Method::POST, "/v2/a/blobs/uploads/", "StartUpload"),
            (Method::PATCH, "/v2/a/blobs/uploads/x", "AppendToUpload"),
            (Method::TRACE, "/v2/a/blobs/uploads/x", "GetUpload"),
            (Method::GET, "/nowhere", "Unknown"),
        ] {
            let target = Route::parse(path).map(Target::Route);
            assert_eq!(operation(Verb::of(&method), target.as_ref()), expected);
        }
    }
}
