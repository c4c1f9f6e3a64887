//! Whether a folder still is where it was: a share that is unmounted leaves an
//! empty folder behind, and what is written there fills the wrong disk.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The file system on which a folder was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    device: u64,
    point: Option<PathBuf>,
}

impl Mount {
    /// That of `folder`, or of the nearest folder above it. Blocks.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        let folder = std::path::absolute(folder).ok()?;
        let existing = folder.ancestors().find_map(|above| above.canonicalize().ok())?;
        let device = existing.metadata().ok()?.dev();
        let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        Some(Self { device, point: point_of(&table, &existing) })
    }

    /// Whether `folder` still is on it. A share that was mounted again has
    /// another device number and the same mount point. Blocks.
    pub(super) fn holds(&self, folder: &Path) -> bool {
        let Some(now) = Self::of(folder) else { return false };
        now.device == self.device || (self.point.is_some() && now.point == self.point)
    }
}

/// A mount point of `/etc/fstab` above `folder` on which nothing is mounted. Blocks.
pub(super) fn unmounted(folder: &Path) -> Option<PathBuf> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    missing(&read("/etc/fstab"), &read("/proc/self/mountinfo"), &std::path::absolute(folder).ok()?)
}

fn missing(fstab: &str, table: &str, folder: &Path) -> Option<PathBuf> {
    let wanted = fstab.lines().filter(|line| !line.trim_start().starts_with('#')).filter_map(|line| field(line, 1));
    let mounted: Vec<PathBuf> = table.lines().filter_map(|line| field(line, 4)).collect();
    wanted.filter(|point| point != Path::new("/") && folder.starts_with(point)).find(|point| !mounted.contains(point))
}

/// The mount point in `table` that is nearest above `folder`.
fn point_of(table: &str, folder: &Path) -> Option<PathBuf> {
    let points = table.lines().filter_map(|line| field(line, 4)).filter(|point| folder.starts_with(point));
    points.max_by_key(|point| point.as_os_str().len())
}

/// A field of such a table; blanks in it are written `\040`.
fn field(line: &str, number: usize) -> Option<PathBuf> {
    let text = line.split_whitespace().nth(number)?;
    Some(PathBuf::from(text.replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n30 22 0:45 / /mnt/my\\040nas rw - nfs4 nas:/x rw\n";

    #[test]
    fn the_nearest_mount_point_counts() {
        assert_eq!(point_of(TABLE, Path::new("/mnt/my nas/videos")), Some("/mnt/my nas".into()));
        assert_eq!(point_of(TABLE, Path::new("/mnt/other")), Some("/".into()));
    }

    #[test]
    fn a_share_that_should_be_mounted_is_missed() {
        let fstab = "# <file system>\n/dev/sda1 / ext4\nnas:/x /mnt/my\\040nas nfs4\nnas:/y /mnt/gone nfs4\n";
        assert_eq!(missing(fstab, TABLE, Path::new("/mnt/gone/videos")), Some("/mnt/gone".into()));
        assert_eq!(missing(fstab, TABLE, Path::new("/mnt/my nas/videos")), None);
        assert_eq!(missing(fstab, TABLE, Path::new("/srv")), None);
    }

    #[test]
    fn a_folder_stays_on_its_mount() {
        let folder = tempfile::tempdir().unwrap();
        let mount = Mount::of(&folder.path().join("not/yet")).unwrap();
        assert!(mount.holds(folder.path()));
        assert!(!Mount { device: u64::MAX, point: Some("/nowhere".into()) }.holds(folder.path()));
    }
}
