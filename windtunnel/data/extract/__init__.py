"""Text out of documents that are more than text: HTML, PDF, Word, notebooks, manual pages. Each is a pure function of the bytes."""
