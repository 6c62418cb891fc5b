//! Is the medium readable, and is it the one that was meant?

use std::path::Path;
use std::sync::Arc;

use crate::cli::output::bytes;
use crate::cli::preflight::Args;
use crate::cli::preflight::Line;
use crate::maintenance::medium::Look;
use crate::maintenance::medium::look;
use crate::store::Directory;
use crate::store::Error;
use crate::store::Iso;
use crate::store::Media;
use crate::store::Source;

const CHECK: &str = "medium";
const LABEL: &str = "label";
const CONTENTS: &str = "contents";

/// What the tools that make payloads label them: the appliance builder's data image, and a release bundle.
const LABELS: &str = "agentdata";
const BUNDLES: &str = "ocp-release-bundle-";

/// A medium that was looked at.
pub(super) struct Examined {
    pub(super) sources: Arc<Vec<Arc<dyn Source>>>,
    pub(super) lines: Vec<Line>,
}

impl Examined {
    /// Looks at it; a line that says why not, where that cannot be.
    pub(super) fn open(path: &Path, args: &Args) -> Result<Self, Line> {
        let refused = |error: &Error| {
            Line::problem(
                CHECK,
                chain(error),
                "check the path, the virtual drive, and the image that it was made of",
            )
        };
        let mut lines = Vec::new();
        let source = open(path, args, &mut lines).map_err(|error| refused(&error))?;
        let sources = Arc::new(vec![source]);
        let look = look(&sources).map_err(|error| refused(&error))?;
        lines.push(readable(&look));
        lines.push(contents(&look, args.release.as_deref()));
        Ok(Self { sources, lines })
    }
}

fn open(path: &Path, args: &Args, lines: &mut Vec<Line>) -> Result<Arc<dyn Source>, Error> {
    let media = Media::default();
    if path.is_dir() {
        return Ok(Arc::new(Directory::open(path, &media)?));
    }
    let iso = Iso::open(path, &media)?;
    lines.push(label(iso.label(), args.label.as_deref()));
    if iso.missing() > 0 {
        let told = format!("the last {} of the image are not there: it was cut short", bytes(iso.missing()));
        lines.push(Line::problem(
            CHECK,
            told,
            "copy or upload the image again, and compare its size and checksum",
        ));
    }
    Ok(Arc::new(iso))
}

fn label(found: &str, wanted: Option<&str>) -> Line {
    let is_right = match wanted {
        Some(wanted) => found == wanted,
        None => found == LABELS || found.starts_with(BUNDLES),
    };
    let wanted = wanted.map_or_else(|| format!("`{LABELS}` or `{BUNDLES}*`"), |it| format!("`{it}`"));
    match is_right {
        true => Line::fine(LABEL, format!("`{found}`")),
        false => Line::problem(
            LABEL,
            format!("`{found}`, where {wanted} is expected"),
            "check which image is attached, or say with `--label` what it is called",
        ),
    }
}

fn readable(look: &Look) -> Line {
    match look.faults.split_first() {
        None => {
            Line::fine(CHECK, format!("{} read at its start, middle and end, and right", bytes(look.read)))
        }
        Some((first, rest)) => {
            let more =
                if rest.is_empty() { String::new() } else { format!(", and {} more faults", rest.len()) };
            let hint =
                "the medium is damaged or the drive fails: attach it again, and `larder verify --root` it";
            Line::problem(CHECK, format!("{first}{more}"), hint)
        }
    }
}

fn contents(look: &Look, release: Option<&str>) -> Line {
    let Look { blobs, repositories, releases, .. } = look;
    let names: Vec<_> = releases.iter().map(|it| it.name()).collect();
    let names =
        if names.is_empty() { "no release".to_owned() } else { format!("releases {}", names.join(", ")) };
    let told = format!("{names}; {blobs} blobs ({}) in {repositories} repositories", bytes(look.bytes));
    let wanted = |name: &str| releases.iter().find(|it| it.is_called(name));
    match release.map(|name| (name, wanted(name))) {
        Some((name, None)) => Line::problem(
            CONTENTS,
            format!("release {name} is not there: {told}"),
            "check which image is attached",
        ),
        _ if *repositories == 0 => {
            Line::problem(CONTENTS, "no repository is there", "check which image is attached")
        }
        Some((name, Some(found))) if !found.is_complete() => {
            let lacks = found.missing.first().map(ToString::to_string).unwrap_or_default();
            let told = format!("release {name} lacks {} things, such as {lacks}", found.missing.len());
            Line::problem(CONTENTS, told, "the image was made of an incomplete mirror: make it again")
        }
        _ => Line::fine(CONTENTS, told),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |it| it.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
