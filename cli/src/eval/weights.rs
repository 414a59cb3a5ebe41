//! The file that the field's Inception comes in.

use crate::report::io_error;
use onestep::Result;
use sha2::{Digest, Sha256};
use std::io::Read;
use std::path::Path;

/// Bytes of the published file, and its SHA-256.
const BYTES: u64 = 95_628_359;
const SHA256: &str = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2";

/// What to do without it.
pub const HOW: &str = "not given. FID, IS, KID, precision and recall are of the features of one network, whose weights are not part \
of onestep. Fetch them once:
  curl -LO https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth
95,628,359 bytes, SHA-256 6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2; then
  --inception pt_inception-2015-12-05-6726825d.pth
Or compare without a network: --metrics pixel, a Frechet distance of images averaged to 8 x 8, and precision and recall there";

/// What a reader should know of scores by the weights in a file, where it is not the published one.
pub fn note(path: &Path) -> Result<Option<String>> {
    let failed = |error| io_error(path, error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let mut same = file.metadata().map_err(failed)?.len() == BYTES;
    if same {
        let mut hasher = Sha256::new();
        let mut bytes = vec![0; 1 << 16];
        loop {
            match file.read(&mut bytes).map_err(failed)? {
                0 => break,
                len => hasher.update(&bytes[..len]),
            }
        }
        let found: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        same = found == SHA256;
    }
    Ok((!same).then(|| {
        format!(
            "{} is not the published file (SHA-256 {SHA256}); unless its weights are the same, these figures cannot be compared \
             with others",
            path.display()
        )
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_file_that_is_checked() {
        assert!(HOW.contains(SHA256) && HOW.replace(',', "").contains(&BYTES.to_string()));
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(note(file.path()).unwrap().unwrap().contains("not the published file"));
        file.as_file().set_len(BYTES).unwrap();
        assert!(note(file.path()).unwrap().is_some());
        assert!(note(Path::new("/none")).is_err());
    }
}
