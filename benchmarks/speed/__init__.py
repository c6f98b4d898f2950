"""Home of the speed of scoring beside other programs: the same images, network and weights in each."""
