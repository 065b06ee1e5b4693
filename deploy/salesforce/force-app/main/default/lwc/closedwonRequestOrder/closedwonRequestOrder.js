import { LightningElement, api } from 'lwc';
import { ShowToastEvent } from 'lightning/platformShowToastEvent';
import requestOrder from '@salesforce/apex/ClosedwonController.requestOrder';

/** A button without a screen: asks for the order of the Opportunity on whose page it stands. */
export default class ClosedwonRequestOrder extends LightningElement {
    @api recordId;
    isBusy = false;

    @api
    async invoke() {
        // A second click would call again: harmless, but it waits for a callout, too.
        if (this.isBusy) {
            return;
        }
        this.isBusy = true;
        try {
            const message = await requestOrder({ recordId: this.recordId });
            this.tell('success', message);
        } catch (error) {
            this.tell('error', error.body?.message ?? 'The order could not be requested.');
        } finally {
            this.isBusy = false;
        }
    }

    tell(variant, message) {
        this.dispatchEvent(new ShowToastEvent({ title: 'Order', message, variant }));
    }
}
