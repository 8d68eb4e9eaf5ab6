"""Images that are the same on every machine, and what the reference implementation of PDQ says of them."""

import numpy as np

from moderation_service.contracts.engine_input import Pixels

PDQ: dict[tuple[int, int, int], tuple[int, tuple[str, ...]]] = {
    (1, 512, 384): (
        100,
        (
            "fb147c39f86252ebf74a53e9d74390403f4b9297377ae2050b2ac3ca0ab5b48a",
            "2b5501efe0b1001ee08ab55e9cee71531442c05b742a3f9d1cad7fad1aedb92d",
            "2e41d69bad35f840b21ff94382162aea6a1e383d622f4aab5f7f29e05fe01ea0",
            "7e00ab41b1e4a2b4b5df1ff4c9ab5af141126af1217f953309f8d5074fb80387",
            "7a1483c6f860ad14c74a8c16d5436ebf3f4b6d68377a1dfa0a2a3c250ab54b75",
            "2e412964ad3507bf821f06bc8016c5156a1ec7c2622fb5505e7fd61f5fe0e15f",
            "ab55fe14e8b1ffe1e08a4aa19efe8eac14473fa4742ac0625cad80523aed56d2",
            "7e0054babde45c4bb5dfe00bcbbb240e4117950e217f6ac849f82ae84fb8ec78",
        ),
    ),
    (2, 64, 64): (
        100,
        (
            "dbe2f04827cef0df2f815c0c55ccfb1744335b0e7025a50df5eee6710403959e",
            "d11d6d537b3c29978d40d164a94454a6ba090df380acee7a7679f986b1cbe649",
            "8eb75ae272175a7172d4f6a60099f1bd1166f1a425708fa7a0b9c8db51562f34",
            "855c83b93d69823dd0157bcefc11fe0ccf5ca759d5f944d0030c532cf4964ce3",
            "dbe20fb727422f262781a3f355cce4ec4433a4f17025daf2f5ec9d8e04037a61",
            "8eb7e51d729fa58e7ad449592099fe4611664e5b2578f058a0bbb7245156d0cb",
            "d11dd7ec793cd7698d402e9fa944ab59ba09f20c80ac118576593779b1cb19b6",
            "855c7d462d697dc2d0158431fc1101f3cf5c58a6d5f9bb2f030cadd3e496b31c",
        ),
    ),
    (3, 100, 700): (
        100,
        (
            "f8a4d1addb20d1429584ab0a287f3adf2a7e34da3b532af45a151abbb057254e",
            "fc020ff707f30691a79cf7be059c93fec914ec0c6204fc0107c0366617e5bed3",
            "8dd17b0f8e757ae8c0d101a07d2f90757f0b9ef07f06807e4f40b019e5078fec",
            "a957a55d52a6bc3bf2e95d1450e939549c4146a6375157bb52959dcc42b21679",
            "d8842e5ad9203fbd958454f5287bc5342a5ecba53a53d53b5a15e54cb052dab9",
            "8dd184f08c758517c0d1fe5f7d2f6f8a7f0b610f65067f810f404fe6e5057013",
            "fc02f00887f3f96ea7bc084125bc7c21c95413f3e29403fe47c5cb9b17e7432e",
            "a9575aaa52a653e4f2e9a2eb70e9c6ab9c41b9593751a9545295633342b2eb86",
        ),
    ),
    (4, 1024, 768): (
        100,
        (
            "0dad8d3f5af7f3a8ef11baab453cfb510a1450f2023e54e3046c556b7ec1429c",
            "5d00c4a81d02caa9ed8235e17da324fbb453dea1fe7c941ef62d9d56647412e9",
            "58fc27950faa5902ba641001106951fb5f41fa5c576bff495339ffc12b94e836",
            "0955ee0248576803b8d79f4b68feae51e106740beb293fb4a378bffc3121b843",
            "4dad72e05bff0c57ff354554453c84be0a14af0d023eab1c066caa947ec1bd63",
            "58fcda6a0faaa6fdba64effe1069ae045f4105a7576b01b65139003e2b9417c9",
            "5d003b571d023556ed82ca1e3da3db04b453215ef67c6be1d62de2a96474ed16",
            "085591fd48579ffcb8d760b468fe71bee1068bf4ab29c14ba378c843312147bc",
        ),
    ),
    (5, 37, 21): (
        100,
        (
            "25572e7f7acd8da230c40cb838c74cb009ec9d033fe46fa968f66b03dafc6c03",
            "1142dee0ea3dd51d7fff2a8e60366f0a3fba115555ba0ab564921155d24d1d2a",
            "f00284d52f8827186f93a6566d92661adcb935b96abbc5033dabc1a98fa9c7a9",
            "4017744abf687f372aaa80243923c5a06aeebbff00efa01f20c7bfff8718b700",
            "2557d1807add72453ac4710738c7334709ec60ec3fe4905668f694fcdafc927c",
            "70027b2a2f88d8e76d9159a96d9299e54cb8c8466ab13afc3da33e568fa93856",
            "1042211fea3d2a6277ffd571603690f43fbaeaaa55bac50a6492eaaad24de255",
            "c4978bb5bf6880c82aaa7fdb3d233a5f6aef440000ef5fe031ef44008f3848ff",
        ),
    ),
}
"""Quality and the eight hashes of `image(seed, width, height)`, by pdqhash 0.2.8 (Meta's code)."""


def image(seed: int, width: int, height: int) -> Pixels:
    """Waves and boxes in colours."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    made = np.zeros((height, width, 3))
    for channel in range(3):
        for fx, fy, phase, weight in rng.uniform(0, 1, (6, 4)):
            made[:, :, channel] += weight * np.sin(6.283 * (9 * fx * x / width + 9 * fy * y / height + phase))
    for left, top, wide, high, *colour in rng.uniform(0, 1, (8, 7)):
        rows = slice(int(top * height), int((top + high / 2) * height))
        made[rows, int(left * width) : int((left + wide / 2) * width)] += 3 * (np.array(colour) - 0.5)
    return np.ascontiguousarray((127 + 40 * made).clip(0, 255).astype(np.uint8))
