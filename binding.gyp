{
  'variables': {
    # The same list, in the same order, stands in CMakeLists.txt; test/unit/native-sources.test.ts compares them.
    'core_sources': [
      'native/core/syscalls.cc',
      'native/core/sysfs.cc',
      'native/core/nvmet.cc',
      'native/core/nvme_fabrics.cc',
      'native/core/bounded_child.cc',
      'native/core/mount.cc',
      'native/core/filesystem.cc',
      'native/core/process.cc',
      'native/core/md_superblock.cc',
      'native/core/md_array.cc',
      'native/core/device_mapper.cc',
      'native/core/uevent.cc',
    ],
    'addon_sources': [
      'native/addon/addon.cc',
      'native/addon/nvmet.cc',
      'native/addon/nvme_fabrics.cc',
      'native/addon/md_array.cc',
      'native/addon/device_mapper.cc',
      'native/addon/mount.cc',
      'native/addon/filesystem.cc',
      'native/addon/uevent.cc',
    ],
  },
  'targets': [
    {
      'target_name': 'meshstor_native',
      'sources': ['<@(core_sources)', '<@(addon_sources)'],
      'include_dirs': ['.'],
      'dependencies': ["<!(node -p \"require('node-addon-api').targets\"):node_addon_api_except"],
      'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_DISABLE_DEPRECATED', '_GNU_SOURCE'],
      'cflags_cc!': ['-std=gnu++17', '-std=gnu++20', '-fno-rtti'],
      'cflags_cc': ['-std=c++17', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    },
  ],
}
