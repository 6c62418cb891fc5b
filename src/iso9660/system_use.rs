//! What Rock Ridge keeps in the system use area of a directory record: the
//! System Use Sharing Protocol 1.12 (SP, CE, ST) and the Rock Ridge Interchange
//! Protocol 1.12 (NM, CL, RE, PX, SL and the forms of encoded files).
//!
//! Knows names, moved directories and which files are plain. Deliberately does
//! not know owners, times, devices or where a symbolic link leads: nothing in a
//! registry's tree is one.

use crate::iso9660::BLOCK;
use crate::iso9660::Error;
use crate::iso9660::Extent;
use crate::iso9660::ReadAt;
use crate::iso9660::record::u32_at;

/// How many continuation areas one record may have. A name of 255 bytes with every other field needs two.
const MAX_CONTINUATIONS: usize = 16;

/// The longest continuation area in bytes. Writers keep an area within one sector, which is all that Linux
/// accepts (`rock_continue`).
const MAX_AREA: u64 = BLOCK;

/// The longest name in bytes: what a directory entry holds on Linux (`NAME_MAX`).
const MAX_NAME: usize = 255;

/// Where the SP entry stands on a disc in the CD-ROM XA format, after its fourteen bytes (SUSP 5.3).
const XA: usize = 14;

/// What the system use area of one record says.
#[derive(Debug, Default)]
pub(super) struct RockRidge {
    /// NM: the name.
    pub(super) name: Option<Vec<u8>>,
    /// CL: this stands for a directory that was moved to the block given here.
    pub(super) child: Option<u32>,
    /// RE: this directory was moved here, and belongs where its CL stands.
    pub(super) relocated: bool,
    /// ER: the extension is Rock Ridge. Only the root's own record says so.
    pub(super) is_rock_ridge: bool,
    pub(super) form: Form,
}

/// How the content of a file is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Form {
    #[default]
    Plain,
    /// SL, or a PX mode that says so: a symbolic link, a device, a socket.
    Special,
    /// ZF (zisofs) or SF: compressed or sparse.
    Encoded,
}

/// The SP entry of the root's own record: `Some` with the bytes to skip where the image has Rock Ridge.
pub(super) fn sharing_protocol(system_use: &[u8]) -> Option<u8> {
    [0, XA].iter().find_map(|at| match system_use.get(*at..)? {
        [b'S', b'P', 7, 1, 0xBE, 0xEF, skip, ..] => Some(*skip),
        _ => None,
    })
}

/// Reads system use areas, and the continuation areas that they lead to.
#[derive(Debug)]
pub(super) struct SystemUseReader<'r, R> {
    reader: &'r R,
    skip: usize,
    /// The sectors of the last continuation area: those of neighbouring records share them.
    sectors: Vec<u8>,
    sectors_at: Option<Extent>,
}

impl<'r, R: ReadAt> SystemUseReader<'r, R> {
    pub(super) fn new(reader: &'r R, skip: u8) -> Self {
        Self { reader, skip: usize::from(skip), sectors: Vec::new(), sectors_at: None }
    }

    /// Everything that the area of the record at `offset` says, its continuations included.
    pub(super) fn read(&mut self, system_use: &[u8], offset: u64) -> Result<RockRidge, Error<R::Error>> {
        let mut found = RockRidge::default();
        let first = system_use.get(self.skip..).unwrap_or_default();
        let malformed = |why| Error::Malformed { offset, why };
        let mut next = found.take(first).map_err(malformed)?;
        for _ in 0..MAX_CONTINUATIONS {
            let Some(area) = next else { return Ok(found) };
            next = found.take(self.area(area, offset)?).map_err(malformed)?;
        }
        match next {
            None => Ok(found),
            Some(_) => Err(Error::TooMany { what: "continuation areas", limit: MAX_CONTINUATIONS, offset }),
        }
    }

    /// The bytes of a continuation area.
    fn area(&mut self, area: Extent, offset: u64) -> Result<&[u8], Error<R::Error>> {
        if area.len > MAX_AREA {
            return Err(Error::Malformed { offset, why: "a continuation area is longer than a sector" });
        }
        let first = area.offset - area.offset % BLOCK;
        let sectors = Extent { offset: first, len: (area.end() - first).next_multiple_of(BLOCK) };
        if self.sectors_at != Some(sectors) {
            self.sectors_at = None;
            super::read(self.reader, sectors, "a continuation area", &mut self.sectors)?;
            self.sectors_at = Some(sectors);
        }
        // Both lie within the three sectors at most that were read.
        let start = usize::try_from(area.offset - first).unwrap_or(usize::MAX);
        let end = usize::try_from(area.end() - first).unwrap_or(usize::MAX);
        Ok(self.sectors.get(start..end).unwrap_or_default())
    }
}

impl RockRidge {
    /// Takes in the entries of one area; gives where they continue.
    fn take(&mut self, mut area: &[u8]) -> Result<Option<Extent>, &'static str> {
        let mut continuation = None;
        // SUSP 4: what is left of an area is padding once no entry fits; real writers fill with zeros.
        while let [first, second, len, _version, ..] = area {
            let signature = [*first, *second];
            if signature == [0, 0] {
                break;
            }
            let (entry, rest) = area
                .split_at_checked(usize::from(*len))
                .filter(|(entry, _)| entry.len() >= 4)
                .ok_or("a system use entry passes the end of its area")?;
            let payload = entry.get(4..).unwrap_or_default();
            match &signature {
                b"ST" => break,
                b"CE" => continuation = Some(continued_at(payload).ok_or("a CE entry is too short")?),
                _ => self.take_entry(signature, payload)?,
            }
            area = rest;
        }
        Ok(continuation)
    }

    fn take_entry(&mut self, signature: [u8; 2], payload: &[u8]) -> Result<(), &'static str> {
        match &signature {
            b"NM" => self.take_name(payload)?,
            b"CL" => self.child = Some(u32_at(payload, 0).ok_or("a CL entry is too short")?),
            b"RE" => self.relocated = true,
            b"SL" => self.form = Form::Special,
            b"PX" if !is_regular_or_directory(payload) => self.form = Form::Special,
            b"ZF" | b"SF" => self.form = Form::Encoded,
            b"ER" => self.is_rock_ridge |= is_rock_ridge(payload),
            // TF, PD, PN, PL, ES, SP and strangers say nothing about names or content.
            _ => {}
        }
        Ok(())
    }

    /// RRIP 4.1.4. A name that is continued is simply followed by another NM.
    fn take_name(&mut self, payload: &[u8]) -> Result<(), &'static str> {
        let (flags, part) = payload.split_first().ok_or("an NM entry is too short")?;
        const CURRENT: u8 = 0x02;
        const PARENT: u8 = 0x04;
        if flags & (CURRENT | PARENT) != 0 {
            return Ok(());
        }
        let name = self.name.get_or_insert_default();
        if name.len() + part.len() > MAX_NAME {
            return Err("a Rock Ridge name is longer than 255 bytes");
        }
        name.extend_from_slice(part);
        Ok(())
    }
}

/// SUSP 5.5: three lengths and a version, then the identifier of the extension, of which Rock Ridge has had
/// three.
fn is_rock_ridge(payload: &[u8]) -> bool {
    let identifier = payload.get(4..).unwrap_or_default();
    [&b"RRIP_1991A"[..], b"IEEE_P1282", b"IEEE_1282"].iter().any(|known| identifier.starts_with(known))
}

/// SUSP 5.1: block, offset within it and length, each in both orders.
fn continued_at(payload: &[u8]) -> Option<Extent> {
    let block = u64::from(u32_at(payload, 0)?);
    let offset = u64::from(u32_at(payload, 8)?);
    Some(Extent { offset: block * BLOCK + offset, len: u64::from(u32_at(payload, 16)?) })
}

/// RRIP 4.1.1: the mode comes first, in the bits of POSIX.
fn is_regular_or_directory(payload: &[u8]) -> bool {
    const TYPE: u32 = 0o170_000;
    const REGULAR: u32 = 0o100_000;
    const DIRECTORY: u32 = 0o040_000;
    // Some writers leave the type out.
    u32_at(payload, 0).is_none_or(|mode| matches!(mode & TYPE, REGULAR | DIRECTORY | 0))
}
