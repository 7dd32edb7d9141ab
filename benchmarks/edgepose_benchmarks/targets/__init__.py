"""Where to measure: this machine, one behind SSH, an Android device behind adb, or a compiler that estimates. One file per target."""

__all__: list[str] = []
