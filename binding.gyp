{
  "targets": [
    {
      "target_name": "repa_native",
      "type": "none",
      "actions": [
        {
          "action_name": "cmake",
          "message": "Building the native addon with CMake",
          "inputs": ["CMakeLists.txt"],
          "outputs": ["<(PRODUCT_DIR)/repa_native.node"],
          "action": ["<!(node -p process.execPath)", "scripts/build-native.mjs"]
        }
      ]
    }
  ]
}
