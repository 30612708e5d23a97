// The form of a new training run: data, objective, what fits the card, and everything else folded away.
(function () {
    'use strict';

    const ns = globalThis.rankopt = globalThis.rankopt || {};
    if (ns.TrainForm) return;

    const {h, set, text, button, plural} = ns.base;
    const OWN = new Set(['base', 'data', 'objective', 'options', 'name', 'preset', 'steps']); // have controls of their own
    const NAME = 'my-taste';
    const CHECK_AFTER = 400;
    const PATIENCE = 3000;

    /** "batch_size" → "Batch size". */
    const words = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll('_', ' ');

    const spoken = (value) => (value === true ? 'on' : value === false ? 'off' : String(value));

    /** A control for a setting as the server describes it. `value` is undefined where nothing usable stands in it. */
    class Field {
        constructor(setting) {
            this.setting = setting;
            this.preset = setting.default; // what holds if it is left alone: the default, or what the chosen preset says
            this.touched = false;
            const {kind} = setting;
            const touch = () => {
                this.touched = true;
            };
            if (kind === 'choice') this.control = h('select', {class: 'ro-select', onchange: touch}, (setting.choices || []).map((one) => h('option', {value: one}, one)));
            else if (kind === 'bool') this.control = h('input', {type: 'checkbox', onchange: touch});
            else if (kind === 'str') this.control = h('input', {class: 'ro-input', type: 'text', oninput: touch});
            else this.control = h('input', {class: 'ro-input', type: 'number', min: setting.least, max: setting.most, step: kind === 'int' ? '1' : 'any', oninput: touch});
            this.control.dataset.setting = setting.name;
            this.element = h('label', {class: kind === 'bool' ? 'ro-setting ro-switch' : 'ro-setting'},
                h('span', {class: 'ro-setting-name'}, words(setting.name)), this.control, h('small', {class: 'ro-dim'}, setting.help || ''));
            this.put(setting.default);
        }

        put(value) {
            if (this.setting.kind === 'bool') this.control.checked = Boolean(value);
            else this.control.value = value === null || value === undefined ? '' : value;
        }

        get value() {
            const {control, setting} = this;
            if (setting.kind === 'bool') return control.checked;
            if (setting.kind === 'choice' || setting.kind === 'str') return control.value;
            return control.value === '' ? undefined : Number(control.value);
        }

        /** Take a preset's value, unless the person has chosen one. */
        suppose(value) {
            this.preset = value === undefined ? this.setting.default : value;
            if (!this.touched) this.put(this.preset);
        }

        /** Must it be sent? Only what differs from what holds anyway. */
        get differs() {
            return this.value !== undefined && this.value !== this.preset;
        }
    }

    /** {name: value} of the fields that differ. */
    const changed = (fields) => Object.fromEntries(fields.filter((field) => field.differs).map((field) => [field.setting.name, field.value]));

    class TrainForm {
        /** @param {(run: object) => void} started is told of the run that has been started */
        constructor(state, started) {
            this.api = state.api;
            this.started = started;
            this.form = null;
            this.left = new Set(); // ids of studies that are not to be used
            this.wanted = new Set(); // ids of collections that are
            this.only = null; // what the Data page has asked for before the form was there
            this.asked = 0;
            this.busy = false;
            this.element = h('form', {class: 'ro-train-form', 'aria-label': 'New run', onsubmit: (event) => event.preventDefault()}, h('p', {class: 'ro-dim'}, 'Reading what can be trained…'));
        }

        /** Read what there is; what has been filled in stays. */
        async load() {
            const form = await this.api.get(['training', 'form']);
            const first = !this.form;
            this.form = form;
            if (first) this.build();
            if (this.only) this.adopt();
            this.drawStudies();
            this.drawReady();
            this.check();
        }

        build() {
            const {form} = this;
            const again = () => this.check();
            this.base = h('select', {class: 'ro-select', 'aria-label': 'Base model', onchange: again}, form.models.map((name) => h('option', {value: name}, name)));
            this.name = h('input', {class: 'ro-input', type: 'text', maxlength: '100', 'aria-label': 'Name', value: NAME});
            this.steps = new Field(form.settings.find((one) => one.name === 'steps') || {name: 'steps', kind: 'int', default: 400, help: ''});
            set(this.steps.control, 'min', '1');
            this.fields = form.settings.filter((one) => !OWN.has(one.name)).map((one) => new Field(one));
            this.options = new Map(form.objectives.map((one) => [one.name, one.options.map((option) => new Field(option))]));
            this.preset = h('select', {class: 'ro-select', onchange: () => this.drawPreset()},
                h('option', {value: ''}, 'none'), Object.keys(form.presets).map((name) => h('option', {value: name}, name)));
            this.sets = h('small', {class: 'ro-dim', 'aria-live': 'polite'});
            this.more = h('div', {class: 'ro-settings'});
            this.reach = h('div', {class: 'ro-reach', role: 'status'});
            this.lack = h('p', {class: 'ro-refusal', hidden: true});
            this.go = button('Start training', null, () => this.start(), {class: 'ro-primary ro-big', command: 'start_training'});
            this.element.replaceChildren(this.dataPart(), this.objectivePart(), this.cardPart(),
                h('details', {class: 'ro-more'}, h('summary', {}, 'More settings'), this.more), this.reach, this.lack, this.go);
            this.drawPreset();
            this.drawOptions();
        }

        dataPart() {
            this.studies = h('div', {class: 'ro-data'});
            this.all = h('input', {type: 'checkbox', onchange: () => {
                this.left = new Set(this.all.checked ? [] : this.form.studies.map((one) => one.id));
                this.drawStudies();
                this.check();
            }});
            this.everything = h('label', {class: 'ro-datum'}, this.all, h('strong', {}, 'All studies'));
            this.collections = h('div', {class: 'ro-data'});
            this.paths = this.form.folders ? h('textarea', {class: 'ro-input', rows: '2', spellcheck: 'false', oninput: () => this.check()}) : null;
            return h('fieldset', {}, h('legend', {}, 'What it learns from'), this.everything, this.studies, this.collections,
                this.paths ? h('label', {class: 'ro-setting'}, h('span', {class: 'ro-setting-name'}, 'Folders or .jsonl files'), this.paths, h('small', {class: 'ro-dim'}, 'One a line; may stay empty.')) : null);
        }

        drawStudies() {
            const {studies} = this.form;
            this.left = new Set(studies.map((one) => one.id).filter((id) => this.left.has(id)));
            set(this.everything, 'hidden', studies.length < 2);
            if (!studies.length) this.studies.replaceChildren(h('p', {class: 'ro-dim'}, 'There are no studies yet. Rank some rounds first.'));
            else this.studies.replaceChildren(...studies.map((study) => this.studyRow(study)));
            this.drawAll();
            this.drawCollections();
        }

        /** Collections are large and from many hands: each is used only where it was chosen. */
        drawCollections() {
            const collections = this.form.collections || [];
            this.wanted = new Set(collections.map((one) => one.id).filter((id) => this.wanted.has(id)));
            this.collections.replaceChildren(...collections.map((one) => {
                const box = h('input', {type: 'checkbox', 'data-collection': one.id, checked: this.wanted.has(one.id), onchange: () => {
                    if (box.checked) this.wanted.add(one.id);
                    else this.wanted.delete(one.id);
                    this.check();
                }});
                return h('label', {class: 'ro-datum'}, box, h('span', {class: 'ro-about'}, h('span', {}, one.name), h('span', {class: 'ro-dim'}, `collection of ${plural(one.images, 'image')}`)),
                    h('span', {class: 'ro-dim ro-count'}, plural(one.answered, 'answer')));
            }));
        }

        /** Learn from these studies and collections and nothing else, as the Data page asks for it. */
        use(ids, objective) {
            this.only = {ids, objective};
            if (this.form) this.adopt();
        }

        adopt() {
            const {ids, objective} = this.only;
            this.only = null;
            this.wanted = new Set(ids);
            this.left = new Set(this.form.studies.map((one) => one.id).filter((id) => !ids.includes(id)));
            const card = this.cards.querySelector(`input[value="${CSS.escape(objective)}"]`);
            if (card) card.checked = true;
            this.drawOptions();
            this.drawStudies();
            this.check();
        }

        studyRow(study) {
            const box = h('input', {type: 'checkbox', 'data-study': study.id, checked: !this.left.has(study.id), onchange: () => {
                if (box.checked) this.left.delete(study.id);
                else this.left.add(study.id);
                this.drawAll();
                this.check();
            }});
            return h('label', {class: 'ro-datum'}, box, h('span', {class: 'ro-about'}, h('span', {}, study.name), h('span', {class: 'ro-dim'}, study.prompt)),
                h('span', {class: 'ro-dim ro-count'}, `${plural(study.answered, 'round')} ranked`));
        }

        drawAll() {
            const used = this.form.studies.length - this.left.size;
            this.all.checked = used > 0 && !this.left.size;
            this.all.indeterminate = used > 0 && this.left.size > 0;
        }

        objectivePart() {
            const group = `rankopt_objective_${ns.base.token().slice(0, 6)}`;
            const card = (one, place) => h('label', {class: 'ro-objective'},
                h('input', {type: 'radio', name: group, value: one.name, checked: place === this.usual, onchange: () => {
                    this.drawOptions();
                    this.check();
                }}), h('strong', {}, one.title), h('span', {class: 'ro-dim'}, one.explanation));
            this.usual = Math.max(0, this.form.objectives.findIndex((one) => one.name === 'dpo'));
            this.cards = h('div', {class: 'ro-objectives', role: 'radiogroup', 'aria-label': 'Objective'}, this.form.objectives.map(card));
            return h('fieldset', {}, h('legend', {}, 'How it learns'), this.cards);
        }

        cardPart() {
            const row = (label, control, help) => h('label', {class: 'ro-setting'}, h('span', {class: 'ro-setting-name'}, label), control, help || null);
            const steps = this.steps.element;
            return h('fieldset', {}, h('legend', {}, 'The run'), h('div', {class: 'ro-settings'},
                row('Base model', this.base), row('Fits my card', this.preset, this.sets),
                row('Name', this.name, h('small', {class: 'ro-dim'}, 'Of the LoRA and its files.')), steps));
        }

        get objective() {
            const name = (this.cards.querySelector('input:checked') || {}).value;
            return this.form.objectives.find((one) => one.name === name) || this.form.objectives[0];
        }

        drawOptions() {
            const fields = this.options.get(this.objective.name);
            this.more.replaceChildren(...(fields.length ? [h('h3', {}, `Of ${this.objective.title}`), ...fields.map((field) => field.element), h('h3', {}, 'Of every run')] : []),
                ...this.fields.map((field) => field.element));
        }

        drawPreset() {
            const values = this.form.presets[this.preset.value] || {};
            text(this.sets, Object.entries(values).map(([name, value]) => `${words(name).toLowerCase()} ${spoken(value)}`).join(', ') || 'Sets what fits the memory of a graphics card.');
            for (const field of this.fields) field.suppose(values[field.setting.name]);
        }

        /** Studies, collections and paths; null where nothing is chosen. No name at all means every study. */
        get data() {
            const paths = this.paths ? this.paths.value.split('\n').map((one) => one.trim()).filter(Boolean) : [];
            const used = this.form.studies.filter((one) => !this.left.has(one.id)).map((one) => one.id);
            const more = [...this.wanted, ...paths];
            if (!more.length && used.length === this.form.studies.length && used.length) return [];
            return used.length || more.length ? [...used, ...more] : null;
        }

        /** What is sent. */
        get config() {
            const options = changed(this.options.get(this.objective.name));
            return {
                base: this.base.value, data: this.data || [], objective: this.objective.name, ...(Object.keys(options).length ? {options} : {}),
                name: this.name.value.trim() || NAME, ...(this.preset.value ? {preset: this.preset.value} : {}), ...changed([this.steps, ...this.fields]),
            };
        }

        drawReady() {
            text(this.lack, this.form.missing || '');
            set(this.lack, 'hidden', !this.form.missing);
            set(this.go, 'disabled', Boolean(this.form.missing) || this.busy || !this.data);
        }

        /** Ask how far the data reach, a moment after the last change. */
        check(after = CHECK_AFTER) {
            const mine = ++this.asked;
            clearTimeout(this.timer);
            this.drawReady();
            if (!this.data) {
                this.say(['Choose what to learn from.'], true);
                return;
            }
            this.timer = setTimeout(async () => {
                try {
                    const {sentences} = await this.api.post(['training', 'check'], this.config);
                    if (mine === this.asked) this.say(sentences, false);
                } catch (error) {
                    if (mine !== this.asked) return;
                    this.say([error.message], true);
                    if (error instanceof ns.Offline) this.check(PATIENCE);
                }
            }, after);
        }

        say(sentences, refused) {
            this.reach.replaceChildren(...sentences.map((one) => h('p', {class: refused ? 'ro-refusal' : null}, one)));
        }

        async start() {
            const wrong = [...this.element.querySelectorAll('input')].find((one) => !one.checkValidity());
            if (wrong) {
                const folded = wrong.closest('details');
                if (folded) folded.open = true; // a field that is not shown cannot say what is wrong with it
                wrong.reportValidity();
                return;
            }
            this.busy = true;
            this.drawReady();
            try {
                this.started(await this.api.post(['training', 'runs'], this.config));
            } catch (error) {
                ns.report(error);
            } finally {
                this.busy = false;
                this.drawReady();
            }
        }
    }

    ns.TrainForm = TrainForm;
}());
