//! The filter graph of a piece: every picture is decoded once, put on the
//! grid, set upright and right in colour once, and scaled down in a cascade.

use std::fmt::Write as _;

use crate::model::media::{DynamicRange, Field, Video};
use crate::plan::grid::Grid;
use crate::plan::ladder::{Rendition, Size};
use crate::plan::piece::Piece;

/// Primaries of SDR that are wider than BT.709's: what they mean by red is another red.
const WIDE: [&str; 3] = ["bt2020", "smpte431", "smpte432"];

/// Nits of a white wall in HDR (ITU-R BT.2408): it becomes the white of SDR, or nearly.
const WHITE: f64 = 203.0;

/// Nits that most HDR is made for at most. Between a half of white and this, the curve rolls off, so that lamps
/// and clouds keep their shapes; what is darker is as it was.
const BRIGHTEST: f64 = 1000.0;

/// Shapes that differ by less are one: 720x576 and 704x576 are taken for the same picture.
pub const SAME_SHAPE: f64 = 0.03;

/// The graph for one piece; its outputs are `[v0]`, `[v1]`, … in the order of `renditions`,
/// as far as their numbers are in `wanted`.
///
/// `start` is the source's time of frame 0. The grid makes time stamps plain
/// frame numbers: `setpts=N` after `fps`, whatever the source's stamps were.
pub fn graph(
    video: &Video,
    grid: &Grid,
    piece: &Piece,
    start: f64,
    (renditions, wanted): (&[Rendition], &[usize]),
) -> String {
    let begin = start + grid.rate.seconds(piece.first_frame);
    // Sound may go on after the picture: a chunk there shows the last one, which `fps` must not drop.
    let begin = video.timeline.times.last().map_or(begin, |last| begin.min(*last));
    let (size, fields) = (one_size(video), deinterlaced(video));
    let mut graph = format!("[0:{}]showinfo=checksum=0,{size},{fields}", video.index);
    // `tpad` repeats the last picture, so that a chunk always has its frames;
    // what is missing is found by comparing decoded pictures with packets.
    write!(
        graph,
        "fps=fps={}:start_time={begin:.9}:round=near:eof_action=pass,tpad=stop=-1:stop_mode=clone,trim=end_frame={},setpts=N",
        grid.rate, piece.frames
    )
    .expect("writing to a string cannot fail");
    graph.push_str(upright(video));
    graph.push_str(opaque(video));
    graph.push_str(&cascade(video, renditions, wanted));
    graph
}

/// A picture that changes its size on the way is brought back to that of the first; others pass untouched.
fn one_size(video: &Video) -> String {
    if video.changes_shape { one_shape(video) } else { format!("scale={}:{}", video.width, video.height) }
}

/// The same for pictures that may be of another shape, which they keep, between black bars.
pub fn one_shape(video: &Video) -> String {
    let Video { width, height, .. } = video;
    let shape = video.shape();
    let fitted = |length: &u32, part: &str| {
        format!("'if(lt(abs(dar/{shape:.6}-1),{SAME_SHAPE}),{length},2*round({length}/2*min(1,{part})))'")
    };
    let (wide, high) = (fitted(width, &format!("dar/{shape:.6}")), fitted(height, &format!("{shape:.6}/dar")));
    format!("scale=w={wide}:h={high}:eval=frame,pad={width}:{height}:(ow-iw)/2:(oh-ih)/2:eval=frame")
}

/// The filter that makes whole pictures of fields, with the comma behind it.
pub fn deinterlaced(video: &Video) -> &'static str {
    match video.first_field {
        _ if !video.interlaced => "",
        None => "bwdif=mode=send_frame:deint=all,",
        Some(Field::Top) => "bwdif=mode=send_frame:parity=tff:deint=all,",
        Some(Field::Bottom) => "bwdif=mode=send_frame:parity=bff:deint=all,",
    }
}

/// Turns a picture upright and brings it to the size and colours of `rendition`.
pub fn set_upright(video: &Video, rendition: &Rendition) -> String {
    let turned = upright(video).trim_start_matches(',');
    let scaled = to_sdr(video, rendition.width, rendition.height);
    if turned.is_empty() { scaled.trim_start_matches(',').to_owned() } else { format!("{turned}{scaled}") }
}

fn upright(video: &Video) -> &'static str {
    match (video.mirrored, video.rotation) {
        (false, 90) => ",transpose=clock",
        (false, 180) => ",hflip,vflip",
        (false, 270) => ",transpose=cclock",
        (true, 0) => ",hflip",
        (true, 90) => ",hflip,transpose=clock",
        (true, 180) => ",vflip",
        (true, 270) => ",hflip,transpose=cclock",
        _ => "",
    }
}

/// The scalers that lead to the wanted renditions. All of them go their own way from size to size
/// ([`Rendition::through`]), so that what is made of one does not depend on which others are; what
/// two ways have in common is done once.
fn cascade(video: &Video, renditions: &[Rendition], wanted: &[usize]) -> String {
    let way = |&number: &usize| renditions.get(number).map(|rendition| Way { number, rendition });
    let ways: Vec<Way<'_>> = wanted.iter().filter_map(way).collect();
    let mut branches = Branches { video, text: String::new(), count: 0 };
    branches.spread(0, &ways);
    branches.text
}

/// The way to one rendition.
#[derive(Clone, Copy)]
struct Way<'a> {
    number: usize,
    rendition: &'a Rendition,
}

impl Way<'_> {
    /// The size after so many others.
    fn size(&self, step: usize) -> Size {
        let Rendition { width, height, through, .. } = self.rendition;
        through.get(step).copied().unwrap_or((*width, *height))
    }

    fn ends_after(&self, steps: usize) -> bool {
        self.rendition.through.len() + 1 == steps
    }

    /// Whether both take the same step; the first also makes the colours.
    fn goes_with(&self, other: &Self, step: usize) -> bool {
        self.size(step) == other.size(step) && (step > 0 || self.rendition.range == other.rendition.range)
    }
}

/// A graph that is being written.
struct Branches<'a> {
    video: &'a Video,
    text: String,
    count: usize,
}

impl Branches<'_> {
    /// Goes on after `steps`, to all the `ways` that are one up to there.
    fn spread(&mut self, steps: usize, ways: &[Way<'_>]) {
        let (here, on): (Vec<Way<'_>>, Vec<Way<'_>>) = ways.iter().partition(|way| way.ends_after(steps));
        let mut groups: Vec<Vec<Way<'_>>> = Vec::new();
        for way in on {
            match groups.iter_mut().find(|group| group.first().is_some_and(|first| first.goes_with(&way, steps))) {
                Some(group) => group.push(way),
                None => groups.push(vec![way]),
            }
        }
        if let ([], [only]) = (&here[..], &groups[..]) {
            self.text.push(',');
            self.step(steps, only);
            return;
        }
        let first = self.count;
        self.count += groups.len();
        let outputs = here.len() + groups.len();
        if outputs > 1 {
            self.put(format_args!(",split={outputs}"));
        }
        for way in here {
            self.put(format_args!("[v{}]", way.number));
        }
        for number in first..self.count {
            self.put(format_args!("[b{number}]"));
        }
        for (number, group) in (first..).zip(&groups) {
            self.put(format_args!(";[b{number}]"));
            self.step(steps, group);
        }
    }

    fn step(&mut self, steps: usize, group: &[Way<'_>]) {
        let Some(first) = group.first() else { return };
        let size = first.size(steps);
        if steps == 0 {
            let scale = first_scale(self.video, first.rendition.range, size);
            self.text.push_str(scale.trim_start_matches(','));
        } else {
            self.put(format_args!("scale={}:{}:flags=bicubic", size.0, size.1));
        }
        self.text.push_str(",setsar=1");
        self.spread(steps + 1, group);
    }

    fn put(&mut self, text: std::fmt::Arguments<'_>) {
        self.text.write_fmt(text).expect("writing to a string cannot fail");
    }
}

fn first_scale(video: &Video, range: DynamicRange, (width, height): Size) -> String {
    match range {
        DynamicRange::Sdr => to_sdr(video, width, height),
        DynamicRange::Pq | DynamicRange::Hlg => in_hdr(video, width, height, range.transfer().0),
    }
}

/// To the size of the largest rendition, 10 bits 4:2:0, BT.2020, limited range; how bright it is stays.
fn in_hdr(video: &Video, width: u32, height: u32, transfer: &str) -> String {
    let range = if full_range(video) { "pc" } else { "tv" };
    let scale = format!(",scale={width}:{height}:flags=bicubic");
    let tags = format!("setparams=range=tv:color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc");
    let (primaries, matrix) = (video.primaries.as_deref(), video.matrix.as_deref());
    if primaries.is_none_or(|tag| tag == "bt2020") && matrix.is_none_or(|tag| tag == "bt2020nc") {
        let same = "in_color_matrix=bt2020:out_color_matrix=bt2020";
        return format!("{scale}:{same}:in_range={range}:out_range=tv,format=yuv420p10le,{tags}");
    }
    format!(
        "{scale},setparams=range={range}:color_primaries={}:color_trc={transfer}:colorspace={},\
         zscale=primaries=bt2020:transfer={transfer}:matrix=bt2020nc:range=tv,format=yuv420p10le,{tags}",
        primaries.unwrap_or("bt2020"),
        matrix.unwrap_or("bt2020nc")
    )
}

/// To the size of the largest rendition, 8 bits 4:2:0, BT.709, limited range.
fn to_sdr(video: &Video, width: u32, height: u32) -> String {
    const TAGS: &str = "setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709";
    let range = if full_range(video) { "pc" } else { "tv" };
    let scale = format!(",scale={width}:{height}:flags=bicubic");
    let tag = |text: &Option<String>, usual: &str| text.clone().unwrap_or_else(|| usual.into());
    let dynamic = video.dynamic_range();
    if dynamic != DynamicRange::Sdr {
        let transfer = dynamic.transfer().0;
        let matrix = tag(&video.matrix, "bt2020nc");
        let primaries = tag(&video.primaries, "bt2020");
        return format!(
            "{scale},setparams=range={range}:color_primaries={primaries}:color_trc={transfer}:colorspace={matrix},\
             zscale=transfer=linear:npl={WHITE},format=gbrpf32le,zscale=primaries=bt709,\
             tonemap=tonemap=mobius:param=0.5:desat=0:peak={:.3},\
             zscale=transfer=bt709:matrix=bt709:range=tv,format=yuv420p,{TAGS}",
            BRIGHTEST / WHITE
        );
    }
    if let Some(primaries) = video.primaries.as_deref().filter(|primaries| WIDE.contains(primaries)) {
        let (transfer, matrix) = (tag(&video.transfer, "bt709"), tag(&video.matrix, matrix_by_size(video)));
        return format!(
            "{scale},setparams=range={range}:color_primaries={primaries}:color_trc={transfer}:colorspace={matrix},\
             zscale=primaries=bt709:transfer=bt709:matrix=bt709:range=tv,format=yuv420p,{TAGS}"
        );
    }
    format!(
        "{scale}:in_color_matrix={}:out_color_matrix=bt709:in_range={range}:out_range=tv,format=yuv420p,{TAGS}",
        matrix(video)
    )
}

/// Whether the colours are right as they are: BT.709 in limited range, with nothing to see through.
pub fn is_plain(video: &Video) -> bool {
    let wide = video.primaries.as_deref().is_some_and(|primaries| WIDE.contains(&primaries));
    let other = wide || video.dynamic_range() != DynamicRange::Sdr;
    !other && !video.alpha && !full_range(video) && matrix(video) == "bt709"
}

/// What is see-through shows black.
fn opaque(video: &Video) -> &'static str {
    match video.pixel_format.as_str() {
        _ if !video.alpha => "",
        format if format.starts_with("yuv") || format.starts_with("gbr") => ",premultiply=inplace=1",
        _ => ",format=gbrap,premultiply=inplace=1",
    }
}

fn full_range(video: &Video) -> bool {
    video.range.as_deref() == Some("pc") || video.pixel_format.starts_with("yuvj")
}

/// The source's matrix in swscale's words. Where the source is silent, its
/// size tells: standard definition is BT.601, the rest BT.709.
fn matrix(video: &Video) -> &'static str {
    match video.matrix.as_deref() {
        Some("bt709") => "bt709",
        Some("fcc") => "fcc",
        Some("bt470bg") => "bt470",
        Some("smpte170m") => "smpte170m",
        Some("smpte240m") => "smpte240m",
        Some("bt2020nc" | "bt2020c") => "bt2020",
        _ if matrix_by_size(video) == "bt709" => "bt709",
        _ => "bt601",
    }
}

/// In the words of ffmpeg's tags.
fn matrix_by_size(video: &Video) -> &'static str {
    if video.height < 720 && video.width < 1280 { "smpte170m" } else { "bt709" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::media::Timeline;
    use crate::model::rational::Rational;
    use crate::plan::ladder;
    use crate::plan::settings::Codec;

    fn graph_of(video: &Video) -> String {
        graph_in(video, 1)
    }

    fn graph_in(video: &Video, codecs: usize) -> String {
        let grid = Grid::new(Rational::new(25, 1).unwrap(), 20.0, 6.0);
        {
            let renditions =
                ladder::ladder(video, &ladder::tests::rungs(), &[Codec::H264, Codec::Hevc][..codecs], true);
            let piece = Piece { chunk: 1, number: 0, first_frame: 150, frames: 150, key_frames: vec![0] };
            graph(video, &grid, &piece, 0.5, (&renditions, &(0..renditions.len()).collect::<Vec<_>>()))
        }
    }

    #[test]
    fn one_decode_feeds_a_cascade() {
        assert_eq!(
            graph_of(&ladder::tests::video(1280, 720)),
            "[0:0]showinfo=checksum=0,scale=1280:720,fps=fps=25/1:start_time=6.500000000:round=near:eof_action=pass,\
             tpad=stop=-1:stop_mode=clone,trim=end_frame=150,setpts=N,\
             scale=1280:720:flags=bicubic:in_color_matrix=bt709:out_color_matrix=bt709:in_range=tv:out_range=tv,\
             format=yuv420p,setparams=range=tv:color_primaries=bt709:color_trc=bt709:colorspace=bt709,\
             setsar=1,split=2[v0][b0];[b0]scale=640:360:flags=bicubic,setsar=1[v1]"
        );
    }

    #[test]
    fn ways_part_where_they_differ() {
        let video = ladder::tests::video(1280, 720);
        let mut renditions = ladder::ladder(&video, &ladder::tests::rungs(), &[Codec::H264], true);
        let cascade = |renditions: &[Rendition], wanted: &[usize]| {
            cascade(&video, renditions, wanted)
                .replace(first_scale(&video, DynamicRange::Sdr, (1280, 720)).as_str(), ",A")
        };
        assert_eq!(cascade(&renditions, &[0]), ",A,setsar=1[v0]");
        assert_eq!(cascade(&renditions, &[1]), ",A,setsar=1,scale=640:360:flags=bicubic,setsar=1[v1]");
        renditions[1].through.clear();
        let text = cascade(&renditions, &[0, 1]);
        assert!(
            text.starts_with(",split=2[b0][b1];[b0]scale=1280:720:") && text.contains("[v0];[b1]scale=640:360:"),
            "{text}"
        );
    }

    #[test]
    fn a_chunk_after_the_last_picture_begins_with_it() {
        let timeline = Timeline { times: vec![0.5, 4.46], ..Timeline::default() };
        let graph = graph_of(&Video { timeline, ..ladder::tests::video(1280, 720) });
        assert!(graph.contains("start_time=4.460000000:"), "{graph}");
    }

    #[test]
    fn pictures_of_another_shape_get_bars() {
        let graph = graph_of(&Video { changes_shape: true, ..ladder::tests::video(1280, 720) });
        let scale = "scale=w='if(lt(abs(dar/1.777778-1),0.03),1280,2*round(1280/2*min(1,dar/1.777778)))':h='if(";
        assert!(graph.contains(scale) && graph.contains(":eval=frame,pad=1280:720:(ow-iw)/2:"), "{graph}");
    }

    #[test]
    fn the_first_field_is_told_where_pictures_do_not_tell_it() {
        let of = |first_field| graph_of(&Video { interlaced: true, first_field, ..ladder::tests::video(720, 576) });
        assert!(of(None).contains(",bwdif=mode=send_frame:deint=all,fps="));
        assert!(of(Some(Field::Bottom)).contains(",bwdif=mode=send_frame:parity=bff:deint=all,fps="));
    }

    #[test]
    fn hdr_is_mapped_and_interlace_undone() {
        let hdr = Video { transfer: Some("smpte2084".into()), interlaced: true, ..ladder::tests::video(3840, 2160) };
        let graph = graph_of(&hdr);
        assert!(graph.contains("color_primaries=bt2020:") && graph.contains("peak=4.926"), "{graph}");
        assert!(graph.contains("bwdif"), "{graph}");
        let both = graph_in(&hdr, 2);
        assert!(both.contains(",split=2[b0][b1];[b0]scale=1920:1080:") && both.contains("peak=4.926"), "{both}");
        let kept = ";[b1]scale=1920:1080:flags=bicubic:in_color_matrix=bt2020:out_color_matrix=bt2020:\
                    in_range=tv:out_range=tv,format=yuv420p10le,setparams=range=tv:color_primaries=bt2020:\
                    color_trc=smpte2084:colorspace=bt2020nc,setsar=1,split=2[v1][b4];[b4]scale=1280:720:flags=bicubic";
        assert!(both.contains(kept), "{both}");
    }

    #[test]
    fn wide_colours_are_brought_in_and_glass_is_laid_on_black() {
        let wide = Video { primaries: Some("smpte432".into()), ..ladder::tests::video(1280, 720) };
        assert!(graph_of(&wide).contains("color_primaries=smpte432:color_trc=bt709:colorspace=bt709,zscale=primaries"));
        let glass = |pixel_format: &str| Video {
            alpha: true,
            pixel_format: pixel_format.into(),
            ..ladder::tests::video(1280, 720)
        };
        assert!(graph_of(&glass("yuva444p10le")).contains("setpts=N,premultiply=inplace=1,scale="));
        assert!(graph_of(&glass("bgra")).contains("setpts=N,format=gbrap,premultiply=inplace=1,scale="));
    }

    #[test]
    fn old_standard_definition_is_bt601() {
        assert!(graph_of(&ladder::tests::video(720, 576)).contains("in_color_matrix=bt601"));
    }
}
