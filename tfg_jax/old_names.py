"""Names before version 0.2, in folders, files of options and flags; they are read, and go with the next release."""

OLD_KEYS = {"normalise": "normalize", "regulariser": "regularizer", "linearise": "linearize"}
