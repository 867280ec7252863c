//! [`Content`]: a file that is read sequentially, with its checksum.

use std::{
    fs::File,
    io::{Read, Seek},
    time::SystemTime,
};

use bytes::Bytes;
use futures_util::{Stream, stream};

use crate::{
    blocking::blocking,
    checksum::{Checksum, Hasher},
    error::FileError,
    files::FileInfo,
};

/// Number of bytes to read and send at a time. A stream has 256 KiB in flight by default, so that
/// some blocks are sent while the next one is read.
pub(crate) const BLOCK: usize = 64 * 1024;

/// A file that is read sequentially.
///
/// The size is fixed when the file is opened. Writes to the file in the meantime are detected at
/// the end; a file that is replaced as a whole is not disturbed.
pub(crate) struct Content {
    name: String,
    file: File,
    size: u64,
    modified: SystemTime,
    position: u64,
    hasher: Hasher,
}

/// A part of a file on the wire.
pub(crate) enum Part {
    Data(Bytes),
    End(Checksum),
}

impl Content {
    /// Opens a file; `name` is for errors and [`info`](Self::info).
    pub(crate) fn new(name: &str, file: File) -> Result<Self, FileError> {
        let metadata = file.metadata().map_err(FileError::io("read", name))?;
        if !metadata.is_file() {
            let name = name.to_owned();
            return Err(FileError::NotAFile { name });
        }
        Ok(Self {
            modified: metadata.modified().map_err(FileError::io("read", name))?,
            size: metadata.len(),
            name: name.to_owned(),
            file,
            position: 0,
            hasher: Hasher::new(),
        })
    }

    pub(crate) fn info(&self) -> FileInfo {
        FileInfo {
            name: self.name.clone(),
            size: self.size,
            modified: Some(self.modified.into()),
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Reads the next block, which is shorter only at the end of the file, and empty after it.
    pub(crate) fn read(&mut self, size: usize) -> Result<Bytes, FileError> {
        let size = self.left().min(size as u64);
        let mut block = Vec::with_capacity(size as usize);
        (&self.file)
            .take(size)
            .read_to_end(&mut block)
            .map_err(FileError::io("read", &self.name))?;
        if (block.len() as u64) < size {
            return Err(self.changed());
        }
        self.hasher.update(&block);
        self.position += size;
        Ok(block.into())
    }

    /// Returns a stream of the remaining data and the checksum of the whole file.
    pub(crate) fn into_parts(self) -> impl Stream<Item = Result<Part, FileError>> + Send + 'static {
        stream::try_unfold(Some(self), |content| async {
            let Some(content) = content else {
                return Ok(None);
            };
            let (content, data) = content.read_block(BLOCK).await?;
            if !data.is_empty() {
                return Ok(Some((Part::Data(data), Some(content))));
            }
            let checksum = blocking(|| content.finish()).await?;
            Ok(Some((Part::End(checksum), None)))
        })
    }

    /// Reads like [`read`](Self::read), on a thread that may block, to which `self` is moved
    /// meanwhile.
    pub(crate) async fn read_block(mut self, size: usize) -> Result<(Self, Bytes), FileError> {
        blocking(move || {
            let block = self.read(size)?;
            Ok((self, block))
        })
        .await
    }

    /// Skips the data that the peer already has, if the file begins with it. Otherwise the position
    /// stays at the beginning.
    pub(crate) fn skip(&mut self, size: u64, checksum: Checksum) -> Result<bool, FileError> {
        if size > self.size {
            return Ok(false);
        }
        while self.position < size {
            self.read((size - self.position).min(BLOCK as u64) as usize)?;
        }
        let same = self.hasher.clone().finish() == checksum;
        if !same {
            self.file
                .rewind()
                .map_err(FileError::io("read", &self.name))?;
            self.position = 0;
            self.hasher = Hasher::new();
        }
        Ok(same)
    }

    /// Returns the checksum of the whole file, after it was read.
    ///
    /// # Errors
    /// Fails if the file has changed since it was opened, so that the data may be a mixture.
    pub(crate) fn finish(self) -> Result<Checksum, FileError> {
        let metadata = self
            .file
            .metadata()
            .map_err(FileError::io("read", &self.name))?;
        let same = metadata.len() == self.size && metadata.modified().ok() == Some(self.modified);
        if !same || self.left() > 0 {
            return Err(self.changed());
        }
        Ok(self.hasher.finish())
    }

    /// Returns the file itself, to read at other positions.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Returns the number of bytes that remain to be read.
    pub(crate) fn left(&self) -> u64 {
        self.size - self.position
    }

    fn changed(&self) -> FileError {
        FileError::Changed {
            name: self.name.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn open(content: &[u8]) -> (tempfile::NamedTempFile, Content) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let content = Content::new("x", File::open(file.path()).unwrap()).unwrap();
        (file, content)
    }

    #[test]
    fn reads_blocks_and_sums_them_up() {
        let (_file, mut content) = open(b"hello world");
        assert_eq!(content.info().size, 11);
        assert_eq!(content.read(8).unwrap(), "hello wo");
        assert_eq!(content.read(8).unwrap(), "rld");
        assert_eq!(content.read(8).unwrap(), "");
        assert_eq!(content.finish().unwrap(), Checksum::of(b"hello world"));
        let (_file, mut content) = open(b"");
        assert_eq!(content.read(8).unwrap(), "");
        assert_eq!(content.finish().unwrap(), Checksum::of(b""));
    }

    #[test]
    fn skips_only_what_is_the_same() {
        let (_file, mut content) = open(b"hello world");
        assert!(content.skip(5, Checksum::of(b"hello")).unwrap());
        assert_eq!(content.read(100).unwrap(), " world");
        assert_eq!(content.finish().unwrap(), Checksum::of(b"hello world"));

        for (size, prefix) in [(5, "hallo"), (12, "hello world!")] {
            let (_file, mut content) = open(b"hello world");
            let checksum = Checksum::of(prefix.as_bytes());
            assert!(!content.skip(size, checksum).unwrap());
            assert_eq!(content.read(100).unwrap(), "hello world");
            assert_eq!(content.finish().unwrap(), Checksum::of(b"hello world"));
        }
    }

    #[test]
    fn a_file_that_changes_is_found_out() {
        let (mut file, mut content) = open(b"hello world");
        content.read(100).unwrap();
        file.write_all(b"!").unwrap();
        assert!(matches!(content.finish(), Err(FileError::Changed { .. })));

        let (file, mut content) = open(b"hello world");
        file.as_file().set_len(3).unwrap();
        assert!(matches!(content.read(100), Err(FileError::Changed { .. })));
    }

    #[test]
    fn a_directory_is_not_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let opened = Content::new("x", File::open(dir.path()).unwrap());
        assert!(matches!(opened, Err(FileError::NotAFile { .. })));
    }
}
