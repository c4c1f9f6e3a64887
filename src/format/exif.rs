//! Exif blocks, which are small TIFF files: how the camera was held, and the
//! removal of what must not go along. Everything is changed where it lies, so
//! that no offset moves, also not those inside a camera's own notes.

/// What to do with a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Forget where the picture was taken.
    pub forget_place: bool,
    /// The pixels were written anew: upright, in this size, and not as the thumbnail shows them.
    pub anew: Option<(u32, u32)>,
}

const ORIENTATION: u16 = 0x0112;
const EXIF_FOLDER: u16 = 0x8769;
const GPS_FOLDER: u16 = 0x8825;
const PIXEL_WIDTH: u16 = 0xa002;
const PIXEL_HEIGHT: u16 = 0xa003;
const THUMBNAIL: u16 = 0x0201;
const THUMBNAIL_LENGTH: u16 = 0x0202;

const MAKER_NOTE: u16 = 0x927c;
const OTHER_FOLDER: u16 = 0xa005;

/// What the first folder of a TIFF file says of the picture and not of how its pixels lie: description, maker,
/// model, orientation, program, time, artist, copyright.
const OF_A_PICTURE: [u16; 8] = [0x010e, 0x010f, 0x0110, ORIENTATION, 0x0131, 0x0132, 0x013b, 0x8298];

/// Longest value that goes along: a block has 64 kB in a JPEG.
const LONGEST_VALUE: usize = 4096;

/// More entries than any camera writes in one folder.
const MOST_ENTRIES: usize = 2000;

/// How the camera was held, from 1 to 8; 1 where nothing is said.
pub fn orientation(tiff: &[u8]) -> u8 {
    let Some(block) = Block::read(tiff) else { return 1 };
    let entry = block.first().and_then(|folder| block.find(folder, ORIENTATION));
    let value = entry.and_then(|entry| block.value(entry));
    value.and_then(|value| u8::try_from(value).ok()).filter(|value| (1..=8).contains(value)).unwrap_or(1)
}

/// Whether the block says where the picture was taken.
pub fn has_place(tiff: &[u8]) -> bool {
    let Some(block) = Block::read(tiff) else { return false };
    block.first().is_some_and(|folder| block.find(folder, GPS_FOLDER).is_some())
}

/// Changes a block in place. What cannot be read is left as it is, but for the
/// place: a block that cannot be read may hide one, so `false` says to drop it.
#[must_use]
pub fn change(tiff: &mut [u8], change: Change) -> bool {
    let Some(block) = Block::read(tiff) else { return false };
    let Some(first) = block.first() else { return false };
    let mut edits = Vec::new();
    if change.forget_place {
        block.forget(first, &mut edits);
    }
    if let Some(size) = change.anew {
        block.write_anew(first, size, &mut edits);
    }
    for Edit { at, bytes } in edits {
        if let Some(place) = tiff.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(&bytes);
        }
    }
    // A second look: a folder that is named twice would still be there.
    !(change.forget_place && has_place(tiff))
}

/// The Exif block of a TIFF file: what its first picture says of itself, without its pixels. A maker's
/// own notes stay behind, as the addresses in them would lead elsewhere.
pub fn of_tiff(file: &[u8]) -> Option<Vec<u8>> {
    let block = Block::read(file)?;
    let first = block.first()?;
    let mut made = [file.get(..4)?, &[0; 4]].concat();
    let mut links = Vec::new();
    for tag in [EXIF_FOLDER, GPS_FOLDER] {
        if let Some(folder) = block.linked(first, tag) {
            links.push((tag, block.append(folder, |tag| !matches!(tag, MAKER_NOTE | OTHER_FOLDER), &[], &mut made)?));
        }
    }
    let at = block.append(first, |tag| OF_A_PICTURE.contains(&tag), &links, &mut made)?;
    made.get_mut(4..8)?.copy_from_slice(&block.u32_bytes(at));
    Some(made)
}

/// The block without a thumbnail that nothing leads to and that stands last, as it mostly does.
pub fn without_tail(tiff: &[u8]) -> &[u8] {
    let used = tiff.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    // Zeros that belong to a value may end a block: one sector of them is kept.
    tiff.get(..(used + 64).min(tiff.len())).unwrap_or(tiff)
}

struct Edit {
    at: usize,
    bytes: Vec<u8>,
}

/// A folder of tags: where its entries begin and how many there are.
#[derive(Clone, Copy)]
struct Folder {
    at: usize,
    count: usize,
}

struct Block<'a> {
    tiff: &'a [u8],
    big_endian: bool,
}

impl<'a> Block<'a> {
    fn read(tiff: &'a [u8]) -> Option<Self> {
        let big_endian = match tiff.get(..4)? {
            b"II*\0" => false,
            b"MM\0*" => true,
            _ => return None,
        };
        Some(Self { tiff, big_endian })
    }

    fn first(&self) -> Option<Folder> {
        self.folder(self.u32(4)? as usize)
    }

    fn folder(&self, at: usize) -> Option<Folder> {
        let count = usize::from(self.u16(at)?);
        let whole = self.tiff.len() >= at.checked_add(2 + count * 12)?;
        (whole && count <= MOST_ENTRIES).then_some(Folder { at: at + 2, count })
    }

    /// Where the entry of `tag` is.
    fn find(&self, folder: Folder, tag: u16) -> Option<usize> {
        (0..folder.count).map(|number| folder.at + number * 12).find(|&entry| self.u16(entry) == Some(tag))
    }

    /// A single number of an entry.
    fn value(&self, entry: usize) -> Option<u32> {
        match self.u16(entry + 2)? {
            3 => self.u16(entry + 8).map(u32::from),
            4 | 13 => self.u32(entry + 8),
            _ => None,
        }
    }

    fn linked(&self, folder: Folder, tag: u16) -> Option<Folder> {
        self.find(folder, tag).and_then(|entry| self.value(entry)).and_then(|at| self.folder(at as usize))
    }

    /// Takes the place out: its folder, all its values, and the entry that leads there.
    fn forget(&self, first: Folder, edits: &mut Vec<Edit>) {
        let Some(entry) = self.find(first, GPS_FOLDER) else { return };
        if let Some(gps) = self.linked(first, GPS_FOLDER) {
            for value in (0..gps.count).filter_map(|number| self.outside(gps.at + number * 12)) {
                edits.push(Edit { at: value.start, bytes: vec![0; value.len()] });
            }
            edits.push(Edit { at: gps.at - 2, bytes: vec![0; 2 + gps.count * 12 + 4] });
        }
        // The entries behind it move up, and so does the link to the next folder.
        let after = self.tiff.get(entry + 12..first.at + first.count * 12 + 4).unwrap_or_default();
        edits.push(Edit { at: entry, bytes: [after, &[0; 12]].concat() });
        edits.push(Edit { at: first.at - 2, bytes: self.u16_bytes(first.count - 1) });
    }

    /// Where the value of an entry lies, if not in the entry itself.
    fn outside(&self, entry: usize) -> Option<std::ops::Range<usize>> {
        let bytes = self.value_bytes(entry)?;
        let at = self.u32(entry + 8)? as usize;
        (bytes > 4 && at.checked_add(bytes)? <= self.tiff.len()).then_some(at..at + bytes)
    }

    fn value_bytes(&self, entry: usize) -> Option<usize> {
        let size = match self.u16(entry + 2)? {
            3 | 8 => 2,
            4 | 9 | 11 | 13 => 4,
            5 | 10 | 12 => 8,
            _ => 1,
        };
        Some(size * self.u32(entry + 4)? as usize)
    }

    /// Writes a copy of a folder with its values behind `made`, with `links` to other folders there.
    /// Tells where it begins.
    fn append(
        &self,
        folder: Folder,
        keep: impl Fn(u16) -> bool,
        links: &[(u16, u32)],
        made: &mut Vec<u8>,
    ) -> Option<u32> {
        let mut entries = Vec::new();
        for entry in (0..folder.count).map(|number| folder.at + number * 12) {
            let mut copy = self.tiff.get(entry..entry + 12)?.to_vec();
            let bytes = self.value_bytes(entry)?;
            if !self.u16(entry).is_some_and(&keep) || bytes > LONGEST_VALUE {
                continue;
            }
            if bytes > 4 {
                let Some(value) = self.outside(entry).and_then(|value| self.tiff.get(value)) else { continue };
                copy.splice(8.., self.u32_bytes(u32::try_from(made.len()).ok()?));
                made.extend_from_slice(value);
                made.resize(made.len().next_multiple_of(2), 0);
            }
            entries.push(copy);
        }
        for (tag, at) in links {
            entries.push([self.u16_bytes(usize::from(*tag)), self.long(*at)].concat());
        }
        // Readers expect them in order.
        entries.sort_by_key(|entry| if self.big_endian { [entry[0], entry[1]] } else { [entry[1], entry[0]] });
        let at = u32::try_from(made.len()).ok()?;
        made.extend(self.u16_bytes(entries.len()));
        made.extend(entries.concat());
        made.extend([0; 4]);
        Some(at)
    }

    fn write_anew(&self, first: Folder, (width, height): (u32, u32), edits: &mut Vec<Edit>) {
        // These come before the shift of `forget`, and so must be found where that puts them.
        let gone = (!edits.is_empty()).then(|| self.find(first, GPS_FOLDER)).flatten();
        let moved = |entry: usize| if gone.is_some_and(|gone| entry > gone) { entry - 12 } else { entry };
        if let Some(entry) = self.find(first, ORIENTATION) {
            edits.push(Edit { at: moved(entry) + 2, bytes: self.short(1) });
        }
        if let Some(exif) = self.linked(first, EXIF_FOLDER) {
            for (tag, value) in [(PIXEL_WIDTH, width), (PIXEL_HEIGHT, height)] {
                edits.extend(self.find(exif, tag).map(|entry| Edit { at: entry + 2, bytes: self.long(value) }));
            }
        }
        let link = first.at + first.count * 12;
        if let Some(second) = self.u32(link).filter(|&at| at > 0).and_then(|at| self.folder(at as usize)) {
            let number = |tag| self.find(second, tag).and_then(|entry| self.value(entry)).map(|value| value as usize);
            if let (Some(at), Some(length)) = (number(THUMBNAIL), number(THUMBNAIL_LENGTH)) {
                let length = length.min(self.tiff.len().saturating_sub(at));
                edits.push(Edit { at, bytes: vec![0; length] });
            }
            edits.push(Edit { at: second.at - 2, bytes: vec![0; 2 + second.count * 12] });
        }
        edits.push(Edit { at: if gone.is_some() { link - 12 } else { link }, bytes: vec![0; 4] });
    }

    /// Type, count and value of a single SHORT.
    fn short(&self, value: u8) -> Vec<u8> {
        let number = self.u16_bytes(value.into());
        [&self.u16_bytes(3)[..], &self.u32_bytes(1), &number, &[0, 0]].concat()
    }

    /// Type, count and value of a single LONG.
    fn long(&self, value: u32) -> Vec<u8> {
        [&self.u16_bytes(4)[..], &self.u32_bytes(1), &self.u32_bytes(value)].concat()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        let bytes = self.tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if self.big_endian { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) })
    }

    fn u32(&self, at: usize) -> Option<u32> {
        let bytes = self.tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(if self.big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) })
    }

    fn u16_bytes(&self, value: usize) -> Vec<u8> {
        let value = u16::try_from(value).unwrap_or(u16::MAX);
        if self.big_endian { value.to_be_bytes().into() } else { value.to_le_bytes().into() }
    }

    fn u32_bytes(&self, value: u32) -> Vec<u8> {
        if self.big_endian { value.to_be_bytes().into() } else { value.to_le_bytes().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [[u8; 4]; 2] = [*b"II*\0", *b"MM\0*"];

    /// A block with an orientation, a place, an Exif folder with a width, and a thumbnail.
    fn block(big_endian: bool) -> Vec<u8> {
        let tiff = WORDS[usize::from(big_endian)].to_vec();
        let make = Block { tiff: &tiff, big_endian };
        let entry = |tag: usize, kind: usize, count: u32, value: u32| {
            let value =
                if kind == 3 { [make.u16_bytes(value as usize), vec![0, 0]].concat() } else { make.u32_bytes(value) };
            [make.u16_bytes(tag), make.u16_bytes(kind), make.u32_bytes(count), value].concat()
        };
        let folder = |entries: &[Vec<u8>], next: u32| {
            [make.u16_bytes(entries.len()), entries.concat(), make.u32_bytes(next)].concat()
        };
        let first = folder(&[entry(0x112, 3, 1, 6), entry(0x8769, 4, 1, 50), entry(0x8825, 4, 1, 68)], 110);
        let exif = folder(&[entry(0xa002, 3, 1, 4000)], 0);
        let gps = folder(&[entry(1, 2, 2, 0), entry(2, 5, 1, 98)], 0);
        let thumbnail = folder(&[entry(0x201, 4, 1, 140), entry(0x202, 4, 1, 5)], 0);
        [tiff.clone(), make.u32_bytes(8), first, exif, gps, b"LATITUDE....".to_vec(), thumbnail, b"thumb".to_vec()]
            .concat()
    }

    fn holds(bytes: &[u8], word: &[u8]) -> bool {
        bytes.windows(word.len()).any(|window| window == word)
    }

    #[test]
    fn the_place_goes_and_nothing_else_moves() {
        for big_endian in [false, true] {
            let mut tiff = block(big_endian);
            assert!(has_place(&tiff) && orientation(&tiff) == 6);
            let before = tiff.clone();
            assert!(change(&mut tiff, Change { forget_place: true, anew: None }));
            assert!(!has_place(&tiff) && !holds(&tiff, b"LATITUDE"));
            assert_eq!((tiff.len(), orientation(&tiff)), (before.len(), 6));
            assert!(holds(&tiff, b"thumb"), "a copy keeps its thumbnail");
            let block = Block { tiff: &tiff, big_endian };
            let first = block.first().unwrap();
            assert_eq!(block.u32(first.at + first.count * 12), Some(110), "the next folder is still found");
        }
    }

    #[test]
    fn pixels_written_anew_are_upright_and_have_no_old_thumbnail() {
        for (big_endian, forget_place) in [(false, true), (true, true), (true, false)] {
            let mut tiff = block(big_endian);
            assert!(change(&mut tiff, Change { forget_place, anew: Some((300, 200)) }));
            assert_eq!((orientation(&tiff), has_place(&tiff)), (1, !forget_place));
            assert!(!holds(&tiff, b"thumb"));
            let block = Block { tiff: &tiff, big_endian };
            let first = block.first().unwrap();
            assert_eq!(block.u32(first.at + first.count * 12), Some(0));
            let exif = block.linked(first, EXIF_FOLDER).unwrap();
            assert_eq!(block.find(exif, PIXEL_WIDTH).and_then(|entry| block.value(entry)), Some(300));
            assert!(without_tail(&tiff).len() < tiff.len() + 1);
        }
    }

    #[test]
    fn the_block_of_a_tiff_file_is_told_from_its_pixels() {
        for big_endian in [false, true] {
            let file = [block(big_endian), vec![0xff; 100_000]].concat();
            let made = of_tiff(&file).unwrap();
            assert!(made.len() < 200 && orientation(&made) == 6 && has_place(&made) && holds(&made, b"LATITUDE"));
            assert!(!holds(&made, b"thumb"));
            let read = Block { tiff: &made, big_endian };
            let exif = read.linked(read.first().unwrap(), EXIF_FOLDER).unwrap();
            assert_eq!(read.find(exif, PIXEL_WIDTH).and_then(|entry| read.value(entry)), Some(4000));
            for cut in 0..file.len().min(300) {
                drop(of_tiff(file.get(..cut).unwrap()));
            }
        }
    }

    #[test]
    fn broken_blocks_are_refused_and_harm_nobody() {
        let whole = block(true);
        for cut in 0..whole.len() {
            let mut tiff = whole.get(..cut).unwrap().to_vec();
            let known = change(&mut tiff, Change { forget_place: true, anew: Some((1, 1)) });
            assert!(!known || !has_place(&tiff), "{cut}");
        }
        let mut garbage = *b"II*\0\xff\xff\xff\xff";
        assert!(!change(&mut garbage, Change::default()));
        assert_eq!(orientation(&garbage), 1);
    }
}
