//! AVIF's container (ISO/IEC 23008-12 and AV1 Image File Format): one picture
//! with its colour profile, its Exif block and its XMP.

use super::fmp4::{boxed, full};
use super::mp4::child;
use super::webp::Beside;

/// Most bytes of a container around all that is beside the picture.
pub const OVERHEAD: u64 = 640;

/// A picture as an encoder gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coded {
    /// `av1C`, without its header.
    pub config: Vec<u8>,
    /// The AV1 data.
    pub data: Vec<u8>,
}

/// An item of the file: its type, and what follows its name.
struct Item<'a> {
    kind: [u8; 4],
    more: &'a [u8],
    data: Vec<u8>,
}

impl Coded {
    /// The one picture of a file as ffmpeg writes it.
    pub fn read(file: &[u8]) -> Option<Self> {
        let inside = child(file, *b"meta")?.get(4..)?;
        let properties = child(child(inside, *b"iprp")?, *b"ipco")?;
        let config = child(properties, *b"av1C")?.to_vec();
        Some(Self { config, data: child(file, *b"mdat")?.to_vec() })
    }

    /// Whether it is grey.
    fn is_grey(&self) -> bool {
        self.config.get(2).is_some_and(|flags| flags & 0x10 != 0)
    }

    /// The file. Colours are sRGB's unless a profile says otherwise, as YCbCr of full range like a JPEG's.
    pub fn file(&self, (width, height): (u32, u32), beside: Beside<'_>) -> Vec<u8> {
        let mut items = vec![Item { kind: *b"av01", more: b"", data: self.data.clone() }];
        // Before the block stands where in it the TIFF file begins.
        let exif = beside.exif.map(|exif| [&[0; 4][..], exif].concat());
        items.extend(exif.map(|data| Item { kind: *b"Exif", more: b"", data }));
        let xmp = beside.xmp.map(<[u8]>::to_vec);
        items.extend(xmp.map(|data| Item { kind: *b"mime", more: b"application/rdf+xml\0", data }));
        let brands = boxed(*b"ftyp", b"avif\0\0\0\0avifmif1miafMA1B");
        let properties = self.properties((width, height), beside.icc);
        // Places of items are known once it is known how long all before them is.
        let length = meta(&items, &properties, 0).len();
        let first = u32::try_from(brands.len() + length + 8).unwrap_or(u32::MAX);
        let all: Vec<u8> = items.iter().flat_map(|item| item.data.iter().copied()).collect();
        [brands, meta(&items, &properties, first), boxed(*b"mdat", &all)].concat()
    }

    fn properties(&self, (width, height): (u32, u32), icc: Option<&[u8]>) -> Vec<u8> {
        let size = full(*b"ispe", 0, 0, &[width.to_be_bytes(), height.to_be_bytes()].concat());
        let bits = full(*b"pixi", 0, 0, if self.is_grey() { &[1, 8] } else { &[3, 8, 8, 8] });
        // BT.709 primaries, sRGB's curve, the matrix of JPEG, full range.
        let colours = boxed(*b"colr", b"nclx\0\x01\0\x0d\0\x06\x80");
        let profile = icc.map(|icc| boxed(*b"colr", &[b"prof", icc].concat()));
        let count = if profile.is_some() { 5 } else { 4 };
        let all = [size, bits, boxed(*b"av1C", &self.config), colours, profile.unwrap_or_default()];
        // The decoder's configuration, the third, is essential.
        let uses: Vec<u8> = (1..=count).map(|number| if number == 3 { 0x83 } else { number }).collect();
        let of = full(*b"ipma", 0, 0, &[&[0, 0, 0, 1, 0, 1, count][..], &uses].concat());
        boxed(*b"iprp", &[boxed(*b"ipco", &all.concat()), of].concat())
    }
}

/// All that is said of `items`, whose data begin at `first`.
fn meta(items: &[Item<'_>], properties: &[u8], first: u32) -> Vec<u8> {
    let count = u16::try_from(items.len()).unwrap_or(u16::MAX).to_be_bytes();
    let handler = full(*b"hdlr", 0, 0, b"\0\0\0\0pict\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let primary = full(*b"pitm", 0, 0, &[0, 1]);
    let (mut places, mut names, mut links) = ([&[0x44, 0][..], &count].concat(), count.to_vec(), Vec::new());
    let mut at = first;
    for (number, item) in (1_u16..).zip(items) {
        let length = u32::try_from(item.data.len()).unwrap_or(u32::MAX);
        let id = number.to_be_bytes();
        places.extend([&id[..], &[0, 0, 0, 1], &at.to_be_bytes(), &length.to_be_bytes()].concat());
        at = at.saturating_add(length);
        names.extend(full(*b"infe", 2, 0, &[&id[..], &[0, 0], &item.kind, &[0], item.more].concat()));
        if number > 1 {
            // What it says, it says of the picture.
            links.extend(boxed(*b"cdsc", &[&id[..], &[0, 1, 0, 1]].concat()));
        }
    }
    let links = if links.is_empty() { links } else { full(*b"iref", 0, 0, &links) };
    let all = [handler, primary, full(*b"iloc", 0, 0, &places), full(*b"iinf", 0, 0, &names), links];
    full(*b"meta", 0, 0, &[all.concat().as_slice(), properties].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_comes_back_out_of_its_file() {
        let coded = Coded { config: vec![0x81, 0x10, 0x0c, 0], data: b"picture".to_vec() };
        assert_eq!(Coded::read(&coded.file((3, 2), Beside::default())), Some(coded.clone()));
        let beside = Beside { icc: Some(b"profile"), exif: Some(b"II*\0"), xmp: Some(b"<x/>") };
        let file = coded.file((3, 2), beside);
        // The place that is said of each item is where it is.
        for (number, data) in [(1, &b"picture"[..]), (2, b"\0\0\0\0II*\0"), (3, b"<x/>")] {
            let places = child(child(&file, *b"meta").unwrap().get(4..).unwrap(), *b"iloc").unwrap();
            let entry = places.get(8 + (number - 1) * 14..).unwrap();
            let word = |at: usize| u32::from_be_bytes(entry[at..at + 4].try_into().unwrap()) as usize;
            assert_eq!(&file[word(6)..word(6) + word(10)], data);
        }
        assert!(file.len() as u64 <= 7 + 7 + 4 + 4 + OVERHEAD, "{}", file.len());
    }

    #[test]
    fn what_is_no_such_file_gives_nothing() {
        assert_eq!(Coded::read(b""), None);
        assert_eq!(Coded::read(&boxed(*b"meta", &[0; 3])), None);
    }
}
