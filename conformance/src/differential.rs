//! The same requests to distribution and to Larder: equal answers, but for an explicit list.
//!
//! Knows what is compared (status, the headers that clients read, the body) and
//! every intended difference with its reason. distribution 2.8.2 serves the
//! tree that it wrote itself; Larder serves a copy.

use std::collections::BTreeMap;

use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use crate::bench::Bench;
use crate::fixtures;
use crate::fixtures::Payload;
use crate::http::Endpoint;
use crate::http::Response;
use crate::server::Kind;
use crate::server::Registry;
use crate::server::Setup;

mod intended;
mod requests;

use intended::Difference;
use requests::Asked;

/// The headers that clients read.
const HEADERS: [&str; 12] = [
    "Accept-Ranges",
    "Allow",
    "Cache-Control",
    "Content-Length",
    "Content-Range",
    "Content-Type",
    "Docker-Content-Digest",
    "Docker-Distribution-Api-Version",
    "ETag",
    "Link",
    "Location",
    "WWW-Authenticate",
];

/// Every request of the list to both; a difference that nobody intended fails, an intention that nothing
/// shows too.
pub(crate) fn compared(bench: &Bench) -> Result<String> {
    let theirs = serve(bench, Kind::Distribution2, "theirs")?;
    let ours = serve(bench, bench.against(), "ours")?;
    let payload = Payload::read()?;
    let asked = requests::all(&payload);
    let mut unused: BTreeMap<_, _> =
        intended::ALL.iter().map(|intention| (intention.why, intention)).collect();
    let mut unintended = Vec::new();
    for request in &asked {
        for difference in compare(request, &theirs.endpoint, &ours.endpoint)? {
            match intended::ALL.iter().find(|intention| intention.covers(&difference)) {
                Some(intention) => drop(unused.remove(intention.why)),
                None => unintended.push(difference.to_string()),
            }
        }
    }
    theirs.stop()?;
    ours.stop()?;
    if !unintended.is_empty() {
        bail!(
            "{} unintended differences in {} requests\n{}",
            unintended.len(),
            asked.len(),
            unintended.join("\n")
        );
    }
    ensure!(
        unused.is_empty(),
        "intended differences that nothing shows: {:#?}",
        unused.keys().collect::<Vec<_>>()
    );
    Ok(format!("{} requests, {} intended kinds of difference", asked.len(), intended::ALL.len()))
}

fn serve(bench: &Bench, kind: Kind, name: &str) -> Result<Registry> {
    let root = bench.directory().join(name);
    fixtures::unpack_payload(&root)?;
    bench.start(kind, &Setup::new(&root).configured())
}

fn compare(request: &Asked, theirs: &Endpoint, ours: &Endpoint) -> Result<Vec<Difference>> {
    let (their, our) = (request.send(theirs)?, request.send(ours)?);
    let mut differences = Vec::new();
    let mut note = |part: &'static str, their: String, our: String| {
        if their != our {
            differences.push(Difference { asked: request.to_string(), part, their, our });
        }
    };
    note("status", their.status.to_string(), our.status.to_string());
    // An error's text is for people, and its code is compared below.
    let whole = their.status < 400 && our.status < 400;
    for header in HEADERS {
        if whole || !matches!(header, "Content-Length" | "Content-Type") {
            note(header, shown(&their, header, theirs), shown(&our, header, ours));
        }
    }
    if whole {
        note("body", body(&their), body(&our));
    } else {
        note("code", code(&their), code(&our));
    }
    Ok(differences)
}

/// A header without what differs by nature: who answered, and the names of uploads.
fn shown(response: &Response, header: &str, endpoint: &Endpoint) -> String {
    let Some(value) = response.header(header) else { return "-".into() };
    if header == "Content-Length" && boundary(response).is_some() {
        return "as long as its boundaries".into();
    }
    let value = value.replace(&endpoint.address.to_string(), "HOST");
    match header {
        "Location" => requests::without_ids(&value),
        "Content-Type" => value.split(BOUNDARY).next().unwrap_or_default().to_owned(),
        _ => value,
    }
}

/// A body: stored bytes by their digest, what the registry writes itself by its meaning, with tags in order,
/// since distribution lists them in the order in which goroutines finish.
fn body(response: &Response) -> String {
    if let Some(boundary) = boundary(response) {
        return String::from_utf8_lossy(&response.body).replace(boundary, "BOUNDARY");
    }
    let Ok(mut json) = response.json() else { return crate::image::digest(&response.body) };
    if !response.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")) {
        return crate::image::digest(&response.body);
    }
    if let Some(list) = json.get_mut("tags").and_then(|list| list.as_array_mut()) {
        list.sort_by_key(ToString::to_string);
    }
    json.to_string()
}

/// What stands between the parts of an answer in parts, made up anew each time.
fn boundary(response: &Response) -> Option<&str> {
    response.header("Content-Type")?.split_once(BOUNDARY).map(|(_, boundary)| boundary)
}

const BOUNDARY: &str = "boundary=";

fn code(response: &Response) -> String {
    let json = response.json().ok();
    let code = json.as_ref().and_then(|json| json.pointer("/errors/0/code")).and_then(|code| code.as_str());
    code.unwrap_or("-").to_owned()
}
