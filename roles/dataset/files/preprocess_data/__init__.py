"""The preprocessor: `python preprocess_data --help`. Where to begin reading: `__main__`, then `dataset`."""
