//! A body in its file: a zstd frame, then a skippable frame with the digest of
//! the first. The digest in the file's name sees a changed body; the one inside
//! also sees a changed bit that unpacking would ignore. `zstd -d` reads the file.

use std::{fs, io, io::Read as _, path::Path};

use domain::Digest;

use crate::LakeError;

/// Magic number of a skippable frame and the length of its content, 64 bytes.
const SEAL: [u8; 8] = [0x50, 0x2a, 0x4d, 0x18, 64, 0, 0, 0];
const SEAL_BYTES: usize = SEAL.len() + 64;
const LEVEL: i32 = 6;
/// Bound on a body; far above what a provider may send.
const BODY_BYTES_MAX: u64 = 4 << 30;
const REMEDY: &str = "the file was changed: fetch again, which replaces it";

/// Packs a body.
pub(super) fn pack(body: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = zstd::encode_all(body, LEVEL)?;
    let seal = Digest::of(&packed).to_string();
    packed.extend(SEAL);
    packed.extend(seal.as_bytes());
    Ok(packed)
}

/// Reads a body and checks it against its digest and the file against its seal.
pub(super) fn read(path: &Path, expected: Digest) -> Result<Vec<u8>, LakeError> {
    let packed = fs::read(path).map_err(LakeError::io("read", path))?;
    let changed =
        |found| LakeError::WrongDigest { path: path.to_owned(), expected, found, remedy: REMEDY };
    let split = packed.len().checked_sub(SEAL_BYTES);
    let Some((frame, seal)) = split.and_then(|at| packed.split_at_checked(at)) else {
        return Err(changed(Digest::of(&packed)));
    };
    let is_sealed = seal[..8] == SEAL && seal[8..] == *Digest::of(frame).to_string().as_bytes();
    let mut body = Vec::new();
    let unpacked = zstd::Decoder::new(frame)
        .and_then(|decoder| decoder.take(BODY_BYTES_MAX).read_to_end(&mut body));
    let found = Digest::of(&body);
    if unpacked.is_err() || found != expected || !is_sealed {
        // What cannot be unpacked has no digest of a body: tell that of the file.
        return Err(changed(if found == expected { Digest::of(&packed) } else { found }));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_changed_byte_and_every_cut_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("object.zst");
        for body in [&b""[..], b"Date,Close\n2024-01-02,1.0\n", &[7; 5000]] {
            let digest = Digest::of(body);
            let packed = pack(body).unwrap();
            fs::write(&path, &packed).unwrap();
            assert_eq!(read(&path, digest).unwrap(), body);
            assert_eq!(zstd::decode_all(&*packed).unwrap(), body, "zstd reads it");
            for at in 0..packed.len() {
                for bit in 0..8 {
                    let mut bytes = packed.clone();
                    bytes[at] ^= 1 << bit;
                    fs::write(&path, &bytes).unwrap();
                    let error = read(&path, digest).unwrap_err();
                    assert!(error.to_string().contains("object.zst"), "{error}");
                }
                fs::write(&path, &packed[..at]).unwrap();
                assert!(read(&path, digest).is_err(), "cut at {at}");
            }
        }
    }
}
