//! HLS playlists and DASH manifests as inputs: what other tools and this one
//! make of a clip comes back as the clip, and what is hostile or not whole is refused.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::inputs::{fails_once, published};
use crate::support::sandbox::{Run, Sandbox};
use crate::support::server::Server;
use crate::support::{media, oracle, watch};

/// Short waits, and a small picture of every source.
const CONFIG: &str = "\
    [hls]\nprofile = \"fast\"\nladder = \"tiny\"\nsegment = \"4s\"\n\
    [ladders]\ntiny = [{ name = \"90p\", short-side = 90, crf = 30.0, max-bitrate = 200 }]\n\
    [network]\nretries = 2\nconnect-timeout = \"2s\"\nslow-window = \"4s\"\nlongest-wait = \"200ms\"\n\
    [tools]\nyt-dlp = \"/no/yt-dlp\"\n";

struct Scene {
    sandbox: Sandbox,
    server: Server,
}

impl Scene {
    fn new() -> Self {
        let sandbox = Sandbox::new();
        sandbox.config(CONFIG);
        let www = sandbox.path("www");
        fs::create_dir(&www).unwrap();
        fs::copy(media::clip(), www.join("clip.mp4")).unwrap();
        let server = Server::start(&www);
        Self { sandbox, server }
    }

    /// ffmpeg on the clip, in the folder of the server.
    fn ffmpeg(&self, folder: &str, arguments: &str) {
        let folder = self.sandbox.path("www").join(folder);
        fs::create_dir_all(&folder).unwrap();
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y", "-i"]).arg(media::clip()).current_dir(folder);
        let output = command.args(arguments.split(' ').map(|word| word.replace('@', " "))).output().unwrap();
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        let path = self.sandbox.path("www").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.sandbox.path("www").join(name)).unwrap()
    }

    fn run(&self, paths: &[String]) -> Run {
        let list: String = paths.iter().map(|path| self.server.url(path) + "\n").collect();
        let list = self.sandbox.write("list.txt", list);
        self.sandbox.forebay(["hls".as_ref(), "-a".as_ref(), list.as_os_str(), "--to".as_ref(), "out".as_ref()])
    }

    /// The clip by each of these ways, each with an id of its own.
    fn all_are_the_clip(&self, paths: &[&str]) {
        let lines = paths.iter().enumerate().map(|(number, path)| {
            let url = self.server.url(path);
            format!("{{\"url\":\"{url}\",\"id\":\"v{number}\"}}") + "\n"
        });
        let plain = format!("{{\"url\":\"{}\",\"id\":\"plain\"}}\n", self.server.url("good/clip.mp4"));
        let list = self.sandbox.write("list.jsonl", lines.collect::<String>() + &plain);
        let arguments = ["hls".as_ref(), "-a".as_ref(), list.as_os_str(), "--to".as_ref(), "out".as_ref()];
        let run = self.sandbox.start_with(arguments, &[]).wait_for(std::time::Duration::from_mins(4));
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        let wanted = Seen::of(&self.sandbox.path("out"), "plain");
        assert_eq!(wanted.shades.len(), 200);
        for (number, path) in paths.iter().enumerate() {
            Seen::of(&self.sandbox.path("out"), &format!("v{number}")).check(&wanted, path);
        }
    }
}

/// What a player gets.
struct Seen {
    shades: Vec<u8>,
    /// Seconds by which the sound begins later than the picture.
    late: f64,
    /// Seconds of sound.
    sound: f64,
}

impl Seen {
    fn of(out: &Path, id: &str) -> Self {
        let master = watch::master(out, id);
        oracle::judge(&master).unwrap();
        let playlists = watch::playlists(&master);
        let picture = &playlists.iter().find(|(name, _)| name == "90p").unwrap().1;
        let sound =
            &playlists.iter().find(|(name, _)| name.starts_with("audio")).unwrap_or_else(|| panic!("{id} is silent")).1;
        let samples = watch::bytes(sound, &["-map", "0:a:0", "-ac", "1", "-ar", "1000", "-f", "u8", "-"]).len();
        let late = watch::audio_start(sound) - watch::picture(picture).start;
        Self { shades: watch::shades(picture), late, sound: f64::from(u32::try_from(samples).unwrap()) / 1000.0 }
    }

    #[track_caller]
    fn check(&self, wanted: &Self, path: &str) {
        assert_eq!(self.shades.len(), wanted.shades.len(), "{path}");
        let off = self.shades.iter().zip(&wanted.shades).filter(|(a, b)| a.abs_diff(**b) > 3).count();
        assert!(off == 0, "{path}: {off} pictures are others");
        assert!((self.late - wanted.late).abs() < 0.06, "{path}: {} and {}", self.late, wanted.late);
        assert!((self.sound - wanted.sound).abs() < 0.15, "{path}: {} and {}", self.sound, wanted.sound);
    }
}

const CUT: &str = "-c copy -f hls -hls_time 2 -hls_list_size 0";

#[test]
fn playlists_of_ffmpeg_are_the_film_they_were_made_of() {
    let scene = Scene::new();
    scene.ffmpeg("ts", &format!("{CUT} list.m3u8"));
    scene.ffmpeg("fmp4", &format!("{CUT} -hls_segment_type fmp4 list.m3u8"));
    scene.ffmpeg("ranges", &format!("{CUT} -hls_flags single_file list.m3u8"));
    scene.ffmpeg("fmp4-ranges", &format!("{CUT} -hls_segment_type fmp4 -hls_flags single_file list.m3u8"));
    scene.write("aes/key.bin", *b"0123456789abcdef");
    scene.write("aes/info", "key.bin?x=1\nkey.bin\n");
    scene.ffmpeg("aes", &format!("{CUT} -hls_key_info_file info -start_number 7 list.m3u8"));
    scene.write("aes-iv/key.bin", *b"0123456789abcdef");
    scene.write("aes-iv/info", "key.bin\nkey.bin\n000102030405060708090a0b0c0d0e0f\n");
    scene.ffmpeg("aes-iv", &format!("{CUT} -hls_key_info_file info list.m3u8"));
    scene.ffmpeg(
        "tracks",
        &format!(
            "{CUT} -map 0:v -map 0:a -master_pl_name master.m3u8 -hls_segment_filename %v-%d.ts \
            -var_stream_map v:0,agroup:a@a:0,agroup:a,language:de,default:yes %v.m3u8"
        ),
    );
    let list = scene.read("ts/list.m3u8");
    // Windows wrote it, and its server packs it.
    scene.write(
        "ts/packed.m3u8",
        format!("\u{feff}{}", list.replace('\n', "\r\n").replace("list", "../../good/ts/list")),
    );
    assert!(Command::new("gzip").arg(scene.sandbox.path("www/ts/packed.m3u8")).status().unwrap().success());
    scene.write("ts/signed.m3u8", list.replace(".ts", ".ts?token=a%26b"));
    scene.write("ts/one-type", list.replace("list", "../ts/list"));
    scene.all_are_the_clip(&[
        "good/ts/list.m3u8",
        "good/fmp4/list.m3u8",
        "good/ranges/list.m3u8",
        "good/fmp4-ranges/list.m3u8",
        "good/aes/list.m3u8",
        "good/aes-iv/list.m3u8",
        "good/tracks/master.m3u8",
        "packed/ts/packed.m3u8",
        "signed/ts/signed.m3u8?token=a%26b",
        "good/ts/one-type",
        "shaky/ts/list.m3u8",
        "drops/ts/list.m3u8",
        "moved/ts/list.m3u8",
    ]);
}

#[test]
fn manifests_of_dash_are_the_film_they_were_made_of() {
    let scene = Scene::new();
    let cut = "-map 0 -c copy -f dash -seg_duration 2";
    scene.ffmpeg(
        "time",
        &format!("{cut} -output_ts_offset 1 -use_timeline 1 -use_template 1 -media_seg_name $RepresentationID$-$Time$.m4s m.mpd"),
    );
    scene.ffmpeg("number", &format!("{cut} -use_timeline 0 -use_template 1 m.mpd"));
    scene.ffmpeg("list", &format!("{cut} -use_template 0 m.mpd"));
    scene.ffmpeg("single", &format!("{cut} -single_file 1 m.mpd"));
    let whole = "-c copy -movflags +frag_keyframe+empty_moov+default_base_moof -f mp4";
    scene.ffmpeg("demand", &format!("-map 0:v {whole} v.mp4"));
    scene.ffmpeg("demand", &format!("-map 0:a {whole} a.mp4"));
    let set = |kind: &str, more: &str| {
        format!(
            "<AdaptationSet contentType=\"{kind}\" {more}><Representation id=\"{kind}\" bandwidth=\"100000\">\
            <BaseURL>{}.mp4?x=1&amp;y=2</BaseURL><SegmentBase indexRange=\"0-9\"/></Representation></AdaptationSet>",
            kind.chars().next().unwrap()
        )
    };
    scene.write("demand/m.mpd", format!("<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
        mediaPresentationDuration=\"PT8S\"><BaseURL>../</BaseURL><BaseURL>http://other.invalid/</BaseURL><Period><BaseURL>demand/</BaseURL>{}{}</Period></MPD>",
        set("video", "width=\"320\" height=\"180\""), set("audio", "lang=\"en\"")));
    // Two periods: the same film cut in two, each half with a clock of its own.
    let half = |folder: &str, from: &str| {
        scene.ffmpeg(
            folder,
            &format!(
                "-ss {from} -t 4 -map 0 -c:v libx264 -preset ultrafast -c:a aac -b:a 64k -f dash -seg_duration 2 m.mpd"
            ),
        );
        let text = scene.read(&format!("{folder}/m.mpd"));
        let period = text.split_once("<Period").unwrap().1.split_once("</Period>").unwrap().0.to_owned();
        let (_, inner) = period.split_once('>').unwrap();
        format!("<Period duration=\"PT4S\"><BaseURL>{folder}/</BaseURL>{inner}</Period>")
    };
    let periods = half("first", "0") + &half("second", "4");
    scene.write("periods.mpd", format!("<MPD type=\"static\" mediaPresentationDuration=\"PT8S\">{periods}</MPD>"));
    scene.all_are_the_clip(&[
        "good/time/m.mpd",
        "good/number/m.mpd",
        "good/list/m.mpd",
        "good/single/m.mpd",
        "good/demand/m.mpd",
        "good/periods.mpd",
    ]);
}

#[test]
fn packages_of_ours_are_inputs_again_and_discontinuities_are_joined() {
    let scene = Scene::new();
    let clip = media::clip();
    for (id, more) in [("ts", &[][..]), ("cmaf", &["--container", "fmp4", "--dash"])] {
        let arguments = ["hls", clip.to_str().unwrap(), "--id", id, "--to", "www/ours"];
        scene.sandbox.config(&CONFIG.replace("90,", "180,").replace("90p", "180p"));
        scene.sandbox.forebay(arguments.iter().chain(more)).expect(0);
    }
    scene.sandbox.config(CONFIG);
    // The first half, an edge, and the second half of another run with a clock of its own.
    for (folder, from) in [("a", "0"), ("b", "4")] {
        scene.ffmpeg(&format!("edge/{folder}"), &format!("-ss {from} -t 4 -c:v libx264 -preset ultrafast -c:a aac -b:a 64k -f hls -hls_time 2 -hls_list_size 0 list.m3u8"));
    }
    let segments = |folder: &str| {
        let text = scene.read(&format!("edge/{folder}/list.m3u8")).replace("list", &format!("{folder}/list"));
        text.lines()
            .filter(|line| line.starts_with("#EXTINF") || !line.starts_with('#'))
            .map(|line| line.to_owned() + "\n")
            .collect::<String>()
    };
    let edge = format!(
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:4\n{}#EXT-X-DISCONTINUITY\n{}#EXT-X-ENDLIST\n",
        segments("a"),
        segments("b")
    );
    scene.write("edge/list.m3u8", edge);
    scene.all_are_the_clip(&[
        "good/ours/ts/master.m3u8",
        "good/ours/cmaf/master.m3u8",
        "good/ours/cmaf/manifest.mpd",
        "good/edge/list.m3u8",
    ]);
}

#[test]
fn what_is_hostile_live_or_not_whole_is_refused_and_named() {
    let scene = Scene::new();
    scene.ffmpeg("hls", &format!("{CUT} list.m3u8"));
    let list = scene.read("hls/list.m3u8");
    let ending = list.lines().rev().nth(1).unwrap().to_owned();
    let cut = |name: &str| {
        let bytes = fs::read(scene.sandbox.path("www/hls").join(name)).unwrap();
        bytes[..bytes.len() / 3].to_vec()
    };
    scene.write("hls/cut.ts", cut("list2.ts"));
    scene.write("hls/cut-last.ts", cut(&ending));
    scene.write("hls/short-key", b"0123");
    let key = |more: &str| list.replacen("#EXTINF", &format!("#EXT-X-KEY:{more}\n#EXTINF"), 1);
    let instead = |uri: &str| list.replace("list2.ts", uri);
    let far = scene.server.url("good/hls/list.m3u8");
    let mpd = |more: &str| {
        format!(
            "<MPD {more}><Period><AdaptationSet contentType=\"video\">\
        <ContentProtection/><Representation id=\"x\" bandwidth=\"1\"><BaseURL>x.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>"
        )
    };
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("file", instead("file:///etc/passwd"), &["file:///etc/passwd", "refused"]),
        ("metadata", instead("http://169.254.169.254/latest/x.ts"), &["169.254.169.254", "no manifest may name"]),
        ("circle", instead("/circle/x.ts"), &["/circle/x.ts", "redirects more than 5 times"]),
        ("to-file", instead("/to-file/x.ts"), &["redirects to `file:`"]),
        ("gone", instead("nowhere2.ts"), &["nowhere2.ts", "was not found"]),
        ("refused", instead("/403/x.ts"), &["/403/x.ts", "refuses access (403)"]),
        ("page", instead("/page/x.ts"), &["/page/x.ts", "an HTML page, not a segment"]),
        ("torn", instead("/short/hls/list2.ts"), &["/short/hls/list2.ts"]),
        ("cut", instead("cut.ts"), &["cut.ts", "holds", "of its"]),
        ("cut-last", list.replace(&ending, "cut-last.ts"), &["cut-last.ts", "holds", "of its"]),
        ("live", list.replace("#EXT-X-ENDLIST", ""), &["live"]),
        (
            "drm",
            key("METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\""),
            &["encrypted by SAMPLE-AES"],
        ),
        ("short-key", key("METHOD=AES-128,URI=\"short-key\""), &["short-key", "4 bytes", "has 16"]),
        ("wrong-key", key("METHOD=AES-128,URI=\"list0.ts\""), &["list0.ts", "4096 bytes"]),
        (
            "nested",
            format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/good/x/nested.m3u8\n{far}\n"),
            &["names others again"],
        ),
        ("empty", "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXT-X-ENDLIST\n".into(), &["lists no segments"]),
        ("lines", format!("#EXTM3U\n{}", "#EXTINF:1,\n".repeat(500_000)), &["lines, more than 450000"]),
        ("large", format!("#EXTM3U\n{}", "#".repeat(17 << 20)), &["larger than 16777216 bytes"]),
        ("html", "<!DOCTYPE html><html>".into(), &["an HTML page, not a manifest"]),
        ("dynamic", mpd("type=\"dynamic\""), &["live"]),
        ("protected", mpd("type=\"static\""), &["encrypted (ContentProtection"]),
        ("entities", "<!DOCTYPE x [<!ENTITY a 'b'>]><MPD/>".into(), &["document type"]),
    ];
    let mut paths = Vec::new();
    for (name, text, _) in &cases {
        let ending = if text.contains("<MPD") { "mpd" } else { "m3u8" };
        scene.write(&format!("hls/{name}.{ending}"), text);
        paths.push(format!("good/hls/{name}.{ending}"));
    }
    scene.write("x/nested.m3u8", format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{far}\n"));
    let run = scene.run(&paths).expect(1);
    println!("{}", run.stderr);
    for ((_, _, words), path) in cases.iter().zip(&paths) {
        fails_once(&run, &format!("/{path}"), words);
    }
    assert!(published(&scene.sandbox.path("out")).is_empty());
}

#[test]
fn a_download_goes_on_with_the_segments_it_has_unless_the_manifest_changed() {
    let scene = Scene::new();
    scene.ffmpeg("hls", &format!("{CUT} list.m3u8"));
    let list = scene.read("hls/list.m3u8");
    scene.write("hls/late.m3u8", list.replace("list3.ts", "/soon/hls/list3.ts"));
    let path = ["good/hls/late.m3u8".to_owned()];
    let run = scene.run(&path).expect(1);
    fails_once(&run, "late.m3u8", &["/soon/hls/list3.ts", "server error (503)"]);
    let asked = |name: &str| scene.server.count(&format!("good/hls/{name}.ts"));
    assert_eq!((asked("list0"), asked("list1"), asked("list2")), (1, 1, 1));
    // Other segments under the same name: nothing of before is used.
    let renamed = ["0", "1", "2"].iter().fold(scene.read("hls/late.m3u8"), |text, number| {
        fs::copy(
            scene.sandbox.path(&format!("www/hls/list{number}.ts")),
            scene.sandbox.path(&format!("www/hls/new{number}.ts")),
        )
        .unwrap();
        text.replace(&format!("\nlist{number}.ts"), &format!("\nnew{number}.ts"))
    });
    scene.write("hls/late.m3u8", renamed);
    scene.run(&path).expect(1);
    assert_eq!((asked("new0"), asked("new1"), asked("new2")), (1, 1, 1));
    scene.write("ready", "");
    scene.run(&path).expect(0);
    assert_eq!((asked("new0"), asked("new1"), asked("new2"), asked("list0")), (1, 1, 1, 1));
    let out = scene.sandbox.path("out");
    let master = watch::master(&out, &published(&out)[0]);
    assert_eq!(
        watch::shades(&watch::playlists(&master).into_iter().find(|(name, _)| name == "90p").unwrap().1).len(),
        200
    );
    let again = scene.run(&path).expect(0);
    assert!(again.stderr.contains("1 already done"), "{}", again.stderr);
}

#[test]
fn addresses_whose_signature_runs_out_are_asked_for_anew() {
    let scene = Scene::new();
    scene.ffmpeg("hls", &format!("{CUT} list.m3u8"));
    let list = scene.read("hls/list.m3u8");
    scene.write("hls/signed.m3u8", list.replace(".ts", ".ts?X-Amz-Signature=SIGNATURE"));
    scene.write("hls/other.m3u8", list.replace(".ts", ".ts?X-Amz-Signature=none"));
    scene.all_are_the_clip(&["expires/hls/signed.m3u8"]);
    // Refused before anything came, and again after two segments, which are not fetched once more.
    assert!(scene.server.count("expires/hls/signed.m3u8") > 2);
    let first = scene.server.requests().into_iter().filter(|one| one.path.contains("/list0.ts?X-Amz"));
    let signatures: Vec<String> = first.map(|one| one.path.rsplit_once('=').unwrap().1.to_owned()).collect();
    assert_eq!(signatures.len(), 2, "{signatures:?}");
    // Where reading it again does not help, that is the end.
    let run = scene.run(&["expires/hls/other.m3u8".to_owned()]).expect(1);
    fails_once(&run, "other.m3u8", &["refuses access (403)"]);
}

/// A cue: begin, end and text.
type Cue = (f64, f64, String);

/// The cues of every subtitle rendition of `id`, by the rendition's folder.
fn cues(out: &Path, id: &str) -> Vec<(String, Vec<Cue>)> {
    let master = watch::master(out, id);
    oracle::judge(&master).unwrap();
    let seconds = |text: &str| text.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap());
    let read = |block: &str| {
        let (times, text) = block.trim().split_once('\n')?;
        let (begin, end) = times.split_once(" --> ")?;
        Some((seconds(begin), seconds(end), text.to_owned()))
    };
    let texts = watch::playlists(&master).into_iter().filter(|(name, _)| name.starts_with("subs-"));
    let of = |playlist: std::path::PathBuf| {
        let text = fs::read_to_string(playlist.with_file_name("00000.vtt")).unwrap();
        text.split("\n\n").filter_map(read).collect()
    };
    texts.map(|(name, playlist)| (name, of(playlist))).collect()
}

#[track_caller]
fn are_near(found: &[Cue], wanted: &[(f64, f64, &str)], what: &str) {
    let near = |a: f64, b: f64| (a - b).abs() < 0.045;
    let same = found.len() == wanted.len()
        && found.iter().zip(wanted).all(|(a, b)| near(a.0, b.0) && near(a.1, b.1) && a.2 == b.2);
    assert!(same, "{what}: {found:?} are not {wanted:?}");
}

const WORDS: [(f64, f64, &str); 2] = [(1.0, 2.5, "Tom &amp; <i>Jerry</i>"), (3.0, 5.0, "over an edge")];

#[test]
fn subtitles_of_playlists_come_along_in_time() {
    let scene = Scene::new();
    scene.ffmpeg("film", &format!("{CUT} list.m3u8"));
    // Where the picture of a TS begins on its clock, in ticks.
    let begin = watch::picture(&scene.sandbox.path("www/film/list0.ts")).start * 90_000.0;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "some seconds")]
    let map = format!("X-TIMESTAMP-MAP=LOCAL:00:01:00.000,MPEGTS:{}\n", begin.round() as u64);
    let first = "00:01:01.000 --> 00:01:02.500 line:0\n<v Ann>Tom &amp; <i.loud>Jerry</i>\n";
    let second = "00:01:03.000 --> 00:01:05.000\nover an edge\n";
    scene.write("film/de0.vtt", format!("WEBVTT\n{map}\n{first}\n{second}"));
    scene.write("film/de1.vtt", format!("WEBVTT\n{map}\n{second}"));
    let plain = format!("WEBVTT\n\n{first}\n{second}").replace("00:01:0", "00:0");
    scene.write("film/en.vtt", &plain);
    scene.write("film/fr.vtt", "<?xml version=\"1.0\"?><tt/>");
    let list = |names: &[&str]| {
        let lines = names.iter().fold(String::new(), |text, name| text + "#EXTINF:4,\n" + name + "\n");
        format!("#EXTM3U\n#EXT-X-TARGETDURATION:8\n{lines}#EXT-X-ENDLIST\n")
    };
    // More text than any film has.
    scene.write("film/es.vtt", format!("WEBVTT\n\n{}", "x".repeat(17 << 20)));
    scene.write("film/es.m3u8", list(&["es.vtt"]));
    scene.write("film/de.m3u8", list(&["de0.vtt", "de1.vtt"]));
    scene.write("film/en.m3u8", list(&["en.vtt"]));
    scene.write("film/fr.m3u8", list(&["fr.vtt"]));
    let text = |tag: &str, more: &str| {
        format!(
            "#EXT-X-MEDIA:TYPE=SUBTITLES,GROUP-ID=\"s\",NAME=\"{tag}\",LANGUAGE=\"{tag}\",URI=\"{tag}.m3u8\"{more}\n"
        )
    };
    let texts = [text("de", ",FORCED=YES"), text("en", ""), text("fr", ""), text("it", ""), text("es", "")].concat();
    let variant = "#EXT-X-STREAM-INF:BANDWIDTH=900000,SUBTITLES=\"s\"\nlist.m3u8\n";
    scene.write("film/master.m3u8", format!("#EXTM3U\n{texts}{variant}"));
    let url = scene.server.url("good/film/master.m3u8");
    let run = scene.sandbox.forebay(["hls", &url, "--to", "out", "--id", "v"]).expect(0);
    let found = cues(&scene.sandbox.path("out"), "v");
    let names: Vec<_> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["subs-deu-forced", "subs-eng"], "{}", run.stderr);
    for (name, found) in &found {
        are_near(found, &WORDS, name);
    }
    for (tag, why) in [("fr", "an XML text"), ("it", "not found"), ("es", "more than")] {
        let is_told = |line: &&str| line.contains(&format!("`{tag}` are left out")) && line.contains(why);
        assert!(run.stderr.lines().any(|line| is_told(&line)), "{tag}: {}", run.stderr);
    }
    // Nobody asks for languages that are not wanted.
    scene.sandbox.forebay(["hls", &url, "--to", "out", "--id", "w", "--subtitles", "none"]).expect(0);
    assert_eq!(cues(&scene.sandbox.path("out"), "w"), []);
}

#[test]
fn subtitles_of_our_own_packages_keep_their_times() {
    let scene = Scene::new();
    scene.write(
        "clip.en.srt",
        "1\n00:00:01,000 --> 00:00:02,500\nTom & <i>Jerry</i>\n\n2\n00:00:03,000 --> 00:00:05,000\nover an edge\n",
    );
    let film = scene.sandbox.path("www/clip.mp4");
    let film = film.to_str().unwrap();
    let own = scene.sandbox.path("www/own");
    let own = own.to_str().unwrap();
    scene.sandbox.forebay(["hls", film, "--to", own, "--id", "ts"]).expect(0);
    scene.sandbox.forebay(["hls", film, "--to", own, "--id", "mp4", "--container", "fmp4", "--dash"]).expect(0);
    for (id, path) in [("ts", "ts/master.m3u8"), ("mp4", "mp4/master.m3u8"), ("dash", "mp4/manifest.mpd")] {
        let url = scene.server.url(&format!("good/own/{path}"));
        let run = scene.sandbox.forebay(["hls", &url, "--to", "out", "--id", id]).expect(0);
        let found = cues(&scene.sandbox.path("out"), id);
        assert_eq!(found.len(), 1, "{id}: {}", run.stderr);
        are_near(&found[0].1, &WORDS, id);
    }
}
