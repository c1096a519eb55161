"""Text out of documents that are more than text: HTML, PDF, Word, notebooks, manual pages, mails. Each is a pure function of the bytes."""
