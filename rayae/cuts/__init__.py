"""Home of what rules for a cut stand on: `basis`, normal calibration scores; `labelled`, defects beside them."""
