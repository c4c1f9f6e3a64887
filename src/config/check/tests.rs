//! Layers, checks and the texts of their errors.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::Path;

use super::super::layer::{Flag, Surroundings};
use super::*;

const CORES: NonZeroU64 = NonZeroU64::new(2).unwrap();

fn load(files: &[(&Path, &str)], variables: &[(&str, &str)], flags: &[Flag]) -> Result<Config, ConfigError> {
    for (file, text) in files {
        let mut file = std::fs::File::create(file).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    }
    let surroundings = Surroundings {
        files: files.iter().map(|(file, _)| file.to_path_buf()).collect(),
        variables: variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect(),
        flags: flags.to_vec(),
    };
    Config::load(&surroundings, CORES)
}

fn flag(name: &'static str, key: &'static str, value: &str) -> Flag {
    Flag { name, key, value: value.into() }
}

/// The error of one file's text, with `FILE` for its name: text, then hint.
#[track_caller]
fn complaint(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    let error = load(&[(&file, text)], &[], &[]).unwrap_err();
    assert!(error.source().is_none());
    format!("{error} / {}", error.hint().unwrap()).replace(&*file.to_string_lossy(), "FILE")
}

#[test]
fn the_defaults_are_complete_and_right() {
    let config = load(&[], &[], &[]).unwrap();
    assert_eq!(config.lanes.threads, CORES);
    assert_eq!(config.hls.encrypt, None);
    let settings = config.hls_settings(None, None).unwrap();
    let rungs: Vec<(&str, u32, u32)> =
        settings.rungs.iter().map(|rung| (rung.name.as_str(), rung.short_side, rung.max_kbps)).collect();
    assert_eq!(rungs, [("360p", 360, 450), ("720p", 720, 1045), ("1080p", 1080, 2550)]);
    assert_eq!((settings.profile.name.as_str(), settings.profile.preset.as_str()), ("balanced", "veryfast"));
    assert!(config.effective().iter().all(|setting| setting.origin == "default"));
}

#[test]
fn each_layer_covers_the_one_below() {
    let folder = tempfile::tempdir().unwrap();
    let (etc, home, here) = (folder.path().join("etc"), folder.path().join("home"), folder.path().join("here"));
    let all = "[lanes]\ndownloads = 11\nuploads = 11\ndisk = 11\nlook-ahead = 11\n[hls]\naudio-bitrate = 96";
    let config = load(
        &[
            (&etc, all),
            (&home, "lanes.uploads = 12\nlanes.disk = 12\nlanes.look-ahead = 12\nhls.two-pass = true"),
            (&here, "lanes.disk = 13\nlanes.look-ahead = 13\nhls.segment = '4s'"),
        ],
        &[
            ("FOREBAY_LANES__LOOK_AHEAD", "14"),
            ("FOREBAY_HLS__SEGMENT", "5s"),
            ("FOREBAY_LOG", "debug"),
            ("FOREBAY_LOG_FORMAT", "json"),
        ],
        &[flag("--segment", "hls.segment", "6.5s")],
    )
    .unwrap();
    let lanes = config.lanes;
    let counts = [lanes.downloads, lanes.uploads, lanes.disk, lanes.look_ahead].map(NonZeroU64::get);
    assert_eq!(counts, [11, 12, 13, 14]);
    assert_eq!((config.hls.audio_kbps, config.hls.two_pass, config.hls.segment_seconds), (96, true, 6.5));
    let origin = |key: &str| config.effective().iter().find(|one| one.key == key).unwrap().origin.clone();
    assert_eq!(origin("lanes.uploads"), home.to_string_lossy());
    assert_eq!(origin("lanes.look-ahead"), "FOREBAY_LANES__LOOK_AHEAD");
    assert_eq!(origin("hls.segment"), "--segment");
    assert_eq!(origin("scratch.limit"), "default");
}

#[test]
fn ladders_are_named_listed_or_written_out() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("forebay.toml");
    let text = "
        hls.ladder = 'mine'
        ladders.mine = ['tiny', { name = '900p', short-side = 900, crf = 24, max-bitrate = 2200 }]
        rungs.tiny = { short-side = 144, crf = 26, max-bitrate = 150 }
        rungs.1080p.crf = 22
        profiles.archive = { preset = 'slow', x264 = 'aq-mode=3', crf-shift = -2, rate = 1 }";
    let config = load(&[(&file, text)], &[("FOREBAY_LADDERS__WEB", "tiny, 1080p")], &[]).unwrap();
    let names = |wanted: &str| -> Vec<String> {
        config.ladder(wanted).unwrap().into_iter().map(|rung| format!("{} {}", rung.name, rung.crf)).collect()
    };
    assert_eq!(names(&config.hls.ladder), ["tiny 26", "900p 24"]);
    assert_eq!(names("web"), ["tiny 26", "1080p 22"]);
    assert_eq!(names("360p, 720p"), ["360p 18", "720p 20"]);
    let failure = config.ladder("999p").unwrap_err();
    assert_eq!(failure.what, "there is no rung `999p`");
    assert_eq!(
        failure.hint.unwrap(),
        "rungs: 240p, 360p, 480p, 720p, tiny, 1080p, 1440p, 2160p; ladders: web, mine, default"
    );
}

#[test]
fn unknown_keys_name_the_nearest() {
    let cases = [
        ("[lanes]\ndownload = 3", "there is no setting `lanes.download` (from FILE) / did you mean `lanes.downloads`?"),
        ("lanes.cores.x = 1", "there is no setting `lanes.cores.x` (from FILE) / `forebay config` lists all settings"),
        ("rungs.a.width = 3", "there is no setting `rungs.a.width` (from FILE) / `forebay config` lists all settings"),
        ("hls = 3", "there is no setting `hls` (from FILE) / `forebay config` lists all settings"),
    ];
    for (text, expected) in cases {
        assert_eq!(complaint(text), expected);
    }
    let error = load(&[], &[("FOREBAY_DOWNLOADS", "3")], &[]).unwrap_err();
    assert_eq!(error.to_string(), "there is no setting `downloads` (from FOREBAY_DOWNLOADS)");
    assert_eq!(error.hint().unwrap(), "did you mean `FOREBAY_LANES__DOWNLOADS`?");
}

#[test]
fn wrong_values_say_what_where_and_what_to_do() {
    let cases = [
        (
            "lanes.downloads = 'many'",
            "`lanes.downloads` cannot be `many` (from FILE) / give a whole number, such as `lanes.downloads = 4`",
        ),
        ("lanes.downloads = 0", "`lanes.downloads` cannot be `0` (from FILE) / give a whole number from 1 to 1000"),
        (
            "hls.segment = '6'",
            "`hls.segment` cannot be `6` (from FILE) / give a time with its unit, such as `6s` or `1.5m`",
        ),
        ("hls.segment = '1h'", "`hls.segment` cannot be `1h` (from FILE) / give a time from 1 s to 60 s"),
        (
            "scratch.limit = '20 gigs'",
            "`scratch.limit` cannot be `20 gigs` (from FILE) / give a size such as `20GB` or `500MiB`",
        ),
        ("hls.profile = 'best'", "`hls.profile` cannot be `best` (from FILE) / give one of: balanced, fast, small"),
        ("hls.encrypt = 'des'", "`hls.encrypt` cannot be `des` (from FILE) / give one of: none, aes-128, cbcs"),
        (
            "hls.encrypt = 'cbcs'",
            "`hls.encrypt` cannot be `cbcs` (from FILE) / `cbcs` needs `hls.container = \"fmp4\"` (--container fmp4)",
        ),
        (
            "hls.encrypt = 'aes-128'",
            "`hls.key-uri` cannot be empty (from default) / say where players get keys, such as \
             `--key-uri https://example.org/keys/{key}`; {key} becomes the key's name",
        ),
        ("rungs.mine.crf = 20", "`rungs.mine` lacks `short-side` (from FILE) / set `rungs.mine.short-side` too"),
        (
            "ladders.x = ['720p', '720p']",
            "`ladders.x` cannot be `[\"720p\", \"720p\"]` (from FILE) / rungs `720p` and `720p` of one ladder are \
             the same; give every rung a name and a size of its own",
        ),
        (
            "ladders.x = [{ name = 'a', size = 3 }]",
            "`ladders.x` cannot be `[{ name = \"a\", size = 3 }]` (from FILE) / a rung has no `size`; a rung has \
             exactly name, short-side, crf, max-bitrate",
        ),
        (
            "lanes.disk = 1\nlanes.disk = ",
            "`FILE` is not TOML at line 2: string values must be quoted, expected literal string / \
             `config/default.toml` of the project shows how settings are written",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(complaint(text), expected);
    }
    let error = load(&[], &[], &[flag("--uploads", "lanes.uploads", "lots")]).unwrap_err();
    assert_eq!(error.to_string(), "`lanes.uploads` cannot be `lots` (from --uploads)");
}
