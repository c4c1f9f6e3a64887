//! HDR is kept where the codec can, told as it is, and never alone; judged by
//! ffprobe, by decoded pictures, and by `verify`.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::sandbox::Sandbox;
use crate::support::{media, oracle, watch};

/// Two seconds of colours that move, as a camera would have taken them in HDR.
fn film(transfer: &str, told: &str) -> PathBuf {
    let picture = format!(
        "testsrc2=size=320x180:rate=25:duration=2,format=gbrp,setparams=range=pc:color_primaries=bt709:color_trc=bt709:\
         colorspace=gbr,zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=2020,zscale=t={transfer}:m=2020_ncl:r=limited:\
         npl=203,format=yuv420p10le"
    );
    let params = format!("log-level=error:colorprim=bt2020:transfer={transfer}:colormatrix=bt2020nc{told}");
    let codec = "-c:v libx265 -preset ultrafast -crf 10 -color_range tv -color_primaries bt2020 -colorspace bt2020nc";
    let arguments = ["-f", "lavfi", "-i", &picture].into_iter().chain(codec.split(' '));
    let arguments: Vec<&str> = arguments.chain(["-color_trc", transfer, "-x265-params", &params]).collect();
    media::make("mp4", &arguments)
}

const TOLD: &str =
    ":master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50):max-cll=1000,400";

fn probe(playlist: &Path, arguments: &[&str]) -> Value {
    let usual = ["-v", "error", "-select_streams", "v:0", "-of", "json"];
    let arguments = usual.into_iter().chain(arguments.iter().copied()).map(OsStr::new);
    serde_json::from_str(&watch::tool("ffprobe", arguments.chain([playlist.as_os_str()]))).unwrap()
}

/// Size of a sample and colours, as ffprobe sees them.
fn looks(playlist: &Path) -> [String; 5] {
    let stream = &probe(playlist, &["-show_streams"])["streams"][0];
    let keys = ["pix_fmt", "color_range", "color_primaries", "color_transfer", "color_space"];
    keys.map(|key| stream[key].as_str().unwrap_or_default().to_owned())
}

/// The mean of every plane of the first pictures, in steps of ten bits.
fn means(file: &Path) -> Vec<f64> {
    let bytes = watch::bytes(
        file,
        &["-map", "0:v:0", "-frames:v", "5", "-vf", "scale=4:4:flags=area,format=yuv444p10le", "-f", "rawvideo", "-"],
    );
    let values: Vec<f64> =
        bytes.chunks_exact(2).map(|pair| f64::from(u16::from_le_bytes([pair[0], pair[1]]))).collect();
    values.chunks_exact(16).map(|plane| plane.iter().sum::<f64>() / 16.0).collect()
}

/// The line of the master playlist before the address of a rendition.
fn line(master: &str, name: &str) -> String {
    let lines: Vec<&str> = master.lines().collect();
    let at = lines.iter().position(|line| line.ends_with(&format!("/{name}/index.m3u8"))).unwrap();
    lines[at - 1].to_owned()
}

fn package(sandbox: &Sandbox, film: &Path, to: &str, options: &[&str]) -> (PathBuf, String) {
    let usual = ["hls", film.to_str().unwrap(), "--to", to, "--id", "v", "--ladder", "240p", "--profile", "fast"];
    let state = format!("state-{to}");
    let more = ["--state", &state, "--container", "fmp4"];
    sandbox.forebay(usual.into_iter().chain(more).chain(options.iter().copied())).expect(0);
    let master = watch::master(&sandbox.path(to), "v");
    oracle::judge(&master).unwrap();
    let verified = sandbox.forebay([OsStr::new("verify"), master.as_os_str(), OsStr::new("--apple")]);
    assert!(!verified.stdout.contains("R19") && !verified.stdout.contains("R33"), "{}", verified.stdout);
    sandbox.forebay([OsStr::new("verify"), master.as_os_str()]).expect(0);
    let text = fs::read_to_string(&master).unwrap();
    (master, text)
}

#[test]
fn hdr10_is_kept_in_hevc_and_av1_with_sdr_beside_it() {
    let sandbox = Sandbox::with_system_tools();
    let film = film("smpte2084", TOLD);
    let options = ["--codec", "h264,hevc,av1", "--dash", "--i-frames"];
    let (master, text) = package(&sandbox, &film, "out", &options);
    let kept = ["yuv420p10le", "tv", "bt2020", "smpte2084", "bt2020nc"].map(str::to_owned);
    let plain = ["yuv420p", "tv", "bt709", "bt709", "bt709"].map(str::to_owned);
    for (name, range, codec, expected) in [
        ("180p", "SDR", "avc1.64", &plain),
        ("180p-hevc-hdr", "PQ", "hvc1.2.4.L", &kept),
        ("180p-av1-hdr", "PQ", "av01.0.00M.10.0.110.09.16.09.0", &kept),
    ] {
        let line = line(&text, name);
        assert!(line.contains(&format!(",VIDEO-RANGE={range}")) && line.contains(codec), "{name}: {line}");
        let (_, playlist) = watch::playlists(&master).into_iter().find(|(found, _)| found == name).unwrap();
        assert_eq!(&looks(&playlist), expected, "{name}");
        if range == "SDR" {
            continue;
        }
        let first = probe(&playlist, &["-read_intervals", "%+#1", "-show_frames"]).to_string();
        assert!(first.contains("\"max_content\":1000") && first.contains("\"max_average\":400"), "{name}: {first}");
        assert!(first.contains("Mastering display metadata"), "{name}: {first}");
        let header = fs::read(playlist.with_file_name("init.mp4")).unwrap();
        let has = |bytes: &[u8]| header.windows(bytes.len()).any(|window| window == bytes);
        assert!(has(&[b"clli".as_slice(), &1000_u16.to_be_bytes(), &400_u16.to_be_bytes()].concat()), "{name}");
        assert!(has(&[b"mdcv".as_slice(), &13_250_u16.to_be_bytes(), &34_500_u16.to_be_bytes()].concat()), "{name}");
        let off = means(&playlist).iter().zip(means(&film)).map(|(made, was)| (made - was).abs()).fold(0.0, f64::max);
        assert!(off < 12.0, "{name} is off by {off} of 1023");
    }
    let ranges: Vec<&str> = text.lines().filter(|line| line.contains("I-FRAME-STREAM")).collect();
    assert!(ranges.len() == 3 && ranges.iter().all(|line| line.contains("VIDEO-RANGE=")), "{ranges:?}");
    let mpd = fs::read_to_string(master.with_file_name("manifest.mpd")).unwrap();
    let property = "schemeIdUri=\"urn:mpeg:mpegB:cicp:TransferCharacteristics\" value=\"16\"";
    assert_eq!((mpd.matches(property).count(), mpd.matches("contentType=\"video\"").count()), (2, 3), "{mpd}");
}

#[test]
fn hlg_is_kept_and_one_codec_alone_makes_both_ranges() {
    let sandbox = Sandbox::with_system_tools();
    let film = film("arib-std-b67", "");
    let (master, text) = package(&sandbox, &film, "out", &["--codec", "hevc"]);
    let names: Vec<String> = watch::playlists(&master).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["180p-hevc", "180p-hevc-hdr"]);
    assert!(line(&text, "180p-hevc-hdr").contains(",VIDEO-RANGE=HLG"), "{text}");
    assert!(line(&text, "180p-hevc").contains(",VIDEO-RANGE=SDR"), "{text}");
    let playlists = watch::playlists(&master);
    assert_eq!(looks(&playlists[1].1), ["yuv420p10le", "tv", "bt2020", "arib-std-b67", "bt2020nc"]);
    assert_eq!(looks(&playlists[0].1), ["yuv420p", "tv", "bt709", "bt709", "bt709"]);
    let (master, text) = package(&sandbox, &film, "flat", &["--codec", "hevc", "--no-hdr"]);
    assert!(watch::playlists(&master).len() == 1 && !text.contains("VIDEO-RANGE"), "{text}");
}
