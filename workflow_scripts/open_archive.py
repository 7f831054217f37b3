"""Unpacks the archive of a run: python open_archive.py 8folds.zip [folder]"""

import sys

from arcfold.runs.archive import main

if __name__ == "__main__":
    main(sys.argv[1:])
