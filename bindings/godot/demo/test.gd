## Everything of OneStepGenerator, in the engine: `godot --headless --path demo --script test.gd -- FOLDER`, where FOLDER has
## models/ and tests/golden/ of onestep, and ONESTEP_ISA is portable. scripts/godot-checks.sh puts textures.safetensors,
## empty.safetensors and sample.gd, the sample of docs/hosts/godot.md, into the project. Ends with 0 where all is as it should be.
extends SceneTree

var _folder := ""
var _teacher := ""
var _checks := 0


func _initialize() -> void:
	_run()


func _run() -> void:
	_folder = OS.get_cmdline_user_args()[0]
	_teacher = _folder.path_join("models/digits-teacher.safetensors")
	_draws_the_golden_portraits()
	_opens_files()
	_walks()
	_tells_what_is_wrong()
	await _draws_off_the_main_thread()
	await _draws_again_from_the_handler()
	await _cancels()
	await _goes_while_it_draws()
	await _runs_the_scene()
	await _runs_the_sample()
	print("test.gd: %d checks passed" % _checks)
	quit(0)


func _draws_the_golden_portraits() -> void:
	var generator := OneStepGenerator.new()
	_equal(generator.info(), {})
	_equal(generator.open(), OK)
	var info := generator.info()
	_equal([info.role, info.width, info.height, info.channels, info.num_classes], ["student", 16, 16, 4, 8])
	_equal(_fnv1a(generator.noise(range(8)).to_byte_array()), _golden("noise"))
	var images: Array[Image] = generator.draw(range(8), range(8))
	_equal(images.size(), 8)
	_equal([images[0].get_width(), images[0].get_height(), images[0].get_format()], [16, 16, Image.FORMAT_RGBA8])
	_equal(_fnv1a(_pixels(images)), _golden("pixels"))
	# As a caller without types calls, and from noise, with threads that change nothing.
	var untyped = OneStepGenerator.new()
	untyped.threads = 2
	_equal(untyped.open(""), 0)
	_equal(_pixels(untyped.draw_noise(untyped.noise(range(8)), range(8))), _pixels(images))
	# All 64 bits of a seed count, the sign's too.
	_check(generator.noise([-1]) != generator.noise([9223372036854775807]))
	_check(generator.noise([1]) != generator.noise([4294967297]))


func _opens_files() -> void:
	var generator := OneStepGenerator.new()
	_equal(generator.open("res://textures.safetensors"), OK)
	_equal(generator.info().channels, 3)
	_equal(generator.open(_teacher), OK)
	_equal([generator.info().role, generator.info().default_steps], ["teacher", 50])
	var images := generator.draw([1], [1])
	var packer := PCKPacker.new()
	packer.pck_start("user://weights.pck")
	packer.add_file("res://packed.safetensors", _teacher)
	packer.flush()
	_check(not FileAccess.file_exists("res://packed.safetensors"))
	_check(ProjectSettings.load_resource_pack("user://weights.pck"))
	_equal(generator.open("res://packed.safetensors"), OK)
	_equal(_pixels(generator.draw([1], [1])), _pixels(images))


func _walks() -> void:
	var generator := OneStepGenerator.new()
	generator.open()
	var a := generator.noise([1])
	var b := generator.noise([2])
	_equal(generator.slerp(a, b, 0.0), a)
	_equal(generator.slerp(a, b, 1.0), b)
	_check(generator.slerp(a, b, 0.5) != a)
	_equal(generator.draw_noise(generator.slerp(a, b, 0.5), [3]).size(), 1)


func _tells_what_is_wrong() -> void:
	var generator := OneStepGenerator.new()
	_equal(generator.draw([1], [1]), [])
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "open")
	_equal(generator.open("res://nothing.safetensors"), OneStepGenerator.IO)
	_fails(generator, OneStepGenerator.IO, "res://nothing.safetensors")
	_equal(generator.open("res://empty.safetensors"), OneStepGenerator.BAD_MODEL)
	_fails(generator, OneStepGenerator.BAD_MODEL, "res://empty.safetensors")
	_equal(generator.open("res://test.gd"), OneStepGenerator.BAD_MODEL)
	generator.threads = -1
	_equal(generator.open(), OneStepGenerator.INVALID_ARGUMENT)
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "threads")
	generator.threads = 1
	_equal(generator.open(), OK)
	_equal(generator.last_error, "")
	_equal(generator.draw([1, 2], [3]), [])
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "label")
	_equal(generator.draw([1], [10]), [])
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "10")
	_equal(generator.draw([], []), [])
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "nothing")
	_equal(generator.draw_noise(PackedFloat32Array([1.0, 2.0]), [1]), [])
	_fails(generator, OneStepGenerator.INVALID_ARGUMENT, "noise")
	_equal(generator.slerp([1.0], [1.0, 2.0], 0.5), PackedFloat32Array())
	_equal(generator.draw_async([1], [1]), OK)
	_equal(generator.draw_async([1], [1]), OneStepGenerator.BUSY)
	_equal(generator.open(), OneStepGenerator.BUSY)


func _draws_off_the_main_thread() -> void:
	var generator := OneStepGenerator.new()
	_equal(generator.draw_async([1], [1]), OneStepGenerator.INVALID_ARGUMENT)
	generator.open()
	var expected := generator.draw(range(8), range(8))
	var main := OS.get_thread_caller_id()
	var heard := []
	generator.drawn.connect(func(_images): heard.append(OS.get_thread_caller_id()))
	_equal(generator.draw_async(range(8), range(8)), OK)
	_check(generator.is_drawing())
	var images: Array[Image] = await generator.drawn
	_equal(_pixels(images), _pixels(expected))
	_equal(heard, [main])
	_check(not generator.is_drawing())
	_equal(generator.draw_noise_async(generator.noise(range(8)), range(8)), OK)
	_equal(_pixels(await generator.drawn), _pixels(expected))
	# What is wrong with a request is told by the signal.
	_equal(generator.draw_async([1], [10]), OK)
	var failure: Array = await generator.failed
	_equal(failure[0], OneStepGenerator.INVALID_ARGUMENT)
	_check("10" in failure[1])


func _draws_again_from_the_handler() -> void:
	var held := [OneStepGenerator.new()]
	var drawn := []
	held[0].open()
	held[0].drawn.connect(func(images):
		drawn.append(images.size())
		if drawn.size() < 5:
			_equal(held[0].draw_async(range(drawn.size() + 1), range(drawn.size() + 1)), OK)
		else:
			held.clear()) # The last reference, dropped inside its own signal.
	held[0].draw_async([0], [0])
	await _until(func(): return drawn.size() == 5)
	_equal(drawn, [1, 2, 3, 4, 5])


func _cancels() -> void:
	var generator := OneStepGenerator.new()
	generator.open(_teacher)
	generator.cancel() # Nothing draws.
	_equal(generator.draw_async(range(200), _labels(200)), OK)
	generator.cancel()
	var failure: Array = await generator.failed
	_equal(failure[0], OneStepGenerator.CANCELLED)
	_equal(generator.last_status, OneStepGenerator.CANCELLED)
	_equal(generator.draw([1], [1]).size(), 1)


func _goes_while_it_draws() -> void:
	var heard := []
	for wait in [0, 0, 1, 20]:
		var generator := OneStepGenerator.new()
		generator.open(_teacher)
		generator.drawn.connect(func(_images): heard.append(1))
		generator.failed.connect(func(_code, _message): heard.append(1))
		_equal(generator.draw_async(range(200), _labels(200)), OK)
		OS.delay_msec(wait)
		var began := Time.get_ticks_msec()
		generator = null
		print("gone within %d ms" % (Time.get_ticks_msec() - began))
	# A call that is on its way to an object that is gone finds nobody.
	var small := OneStepGenerator.new()
	small.open()
	small.drawn.connect(func(_images): heard.append(1))
	small.draw_async([1], [1])
	OS.delay_msec(200)
	small = null
	# A generator whose last reference is another thread's.
	var task := WorkerThreadPool.add_task(func():
		var own := OneStepGenerator.new()
		own.open()
		own.draw([1], [1])
		own.draw_async(range(100), _labels(100, 8)))
	WorkerThreadPool.wait_for_task_completion(task)
	for frame in 10:
		await process_frame
	_equal(heard, [])


func _runs_the_scene() -> void:
	var scene: Node = load("res://portraits.tscn").instantiate()
	root.add_child(scene)
	await _until(func(): return scene.get_node("Row").get_child_count() == 8)
	_check(scene.get_node("Walker").texture != null)
	_check(scene.is_processing())
	scene.queue_free()
	await process_frame


func _runs_the_sample() -> void:
	var sample: Node = load("res://sample.gd").new()
	root.add_child(sample)
	await _until(func(): return sample.get_child_count() == 3)
	_equal(sample.get_child(0).texture.get_size(), Vector2(16, 16))
	sample.queue_free()
	await process_frame


func _labels(count: int, classes := 10) -> PackedInt32Array:
	return range(count).map(func(i): return i % classes)


func _pixels(images: Array) -> PackedByteArray:
	var bytes := PackedByteArray()
	for image in images:
		bytes.append_array(image.get_data())
	return bytes


func _fnv1a(bytes: PackedByteArray) -> String:
	var hash := -3750763034362895579 # 0xcbf29ce484222325
	for byte in bytes:
		hash = (hash ^ byte) * 0x100000001b3
	return "%08x%08x" % [(hash >> 32) & 0xffffffff, hash & 0xffffffff]


func _golden(key: String) -> String:
	for line in FileAccess.get_file_as_string(_folder.path_join("tests/golden/hosts.txt")).split("\n"):
		var words := line.split(" ", false)
		if words.size() == 2 and words[0] == key:
			return words[1]
	return "no hash of " + key


func _until(condition: Callable) -> void:
	var began := Time.get_ticks_msec()
	while not condition.call():
		if Time.get_ticks_msec() - began > 60000:
			_check(false)
			return
		await process_frame


func _fails(generator: OneStepGenerator, status: int, named: String) -> void:
	_equal(generator.last_status, status)
	_check(named in generator.last_error, generator.last_error)


func _equal(found: Variant, expected: Variant) -> void:
	_check(found == expected, "%s, expected %s" % [str(found).left(200), str(expected).left(200)])


func _check(condition: bool, message := "") -> void:
	_checks += 1
	if not condition:
		printerr("FAILED: check %d: %s" % [_checks, message])
		print_stack()
		OS.kill(OS.get_process_id()) # No code after a failed check runs, in whatever function it is.
