"""What the original published: tables of its report, kept to be shown beside our own."""

# Image side in px: share of right top-1 answers on 500 ImageNet validation images.
ACCURACY = {16: 0.022, 32: 0.170, 64: 0.420, 96: 0.538, 128: 0.610, 224: 0.698}
ACCURACY_IMAGES = 500
# Image side in px: mean round-trip time in seconds, of 100 requests.
RTT_S = {16: 0.203, 32: 0.205, 64: 0.204, 96: 0.203, 128: 0.217, 224: 0.209, 2000: 0.362}
# Mean interval in seconds, then number of workers: mean round-trip time in seconds, of 5 requests.
SCALING_S = {
    0.5: {1: 0.41, 2: 0.45, 4: 0.35},
    0.2: {1: 0.84, 2: 0.76, 4: 0.49},
    0.1: {1: 7.16, 2: 1.96, 4: 0.57},
    0.01: {1: 15.90, 2: 6.83, 4: 4.12},
}
