"""How fast the preprocessor is, against upstream's way and the tokenizers library, on this machine: `make bench`."""
